"""What this GPU and torch would allow: ceilings, attention, a float32 product, the head, norms, graphs."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import torch
from gpu_stages import steps
from gpu_stages.stage import MIB, Stage, make_base, make_batch, make_config, make_geometry
from loratune.objectives.testing.counting import counted
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
CHOICES = {0: "math", 1: "flash", 2: "efficient", 3: "cudnn", 4: "overrideable"}


def run(stage: Stage) -> None:
    """Tell each probe; graphs come last, as a capture that fails may leave the device unusable."""
    with stage.attempt("ceilings"):
        _ceilings(stage)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        with stage.attempt("attention", dtype=_name(dtype)):
            _attention(stage, dtype)
    with stage.attempt("baddbmm with out_dtype"):
        _float32_product(stage)
    with stage.attempt("head"):
        _head(stage)
    with stage.attempt("norm"):
        _norm(stage)
    base = make_base(stage, make_config(stage, "0.5B"))
    for trials in (1, 8):
        with stage.attempt("operators", trials=trials):
            _operators(stage, base, trials)
    with stage.attempt("graph capture"):
        _graph(stage, base)


def _ceilings(stage: Stage) -> None:
    """Tell the rate of a large product and of a large copy, on random numbers."""
    size, count = (256, 1 << 20) if stage.toy else (8192, 1 << 30)
    left, right = (torch.randn(size, size, device=stage.device, dtype=torch.bfloat16) for _ in range(2))
    product = stage.time(lambda: left @ right)
    source = torch.randint(255, (count,), dtype=torch.uint8, device=stage.device)
    into = torch.empty_like(source)
    copy = stage.time(lambda: into.copy_(source))
    stage.tell("ceilings", bf16_tflops=2 * size**3 / product / 1e9, copy_tb_per_second=2 * count / copy / 1e9)


def _attention(stage: Stage, dtype: torch.dtype) -> None:
    """Tell which backend torch takes for grouped heads without a mask, and what each would take."""
    rows, length = (2, 32) if stage.toy else (16, 512)
    q = torch.randn(rows, 14, length, 64, device=stage.device, dtype=dtype, requires_grad=True)
    k, v = (
        torch.randn(rows, 2, length, 64, device=stage.device, dtype=dtype, requires_grad=True) for _ in "kv"
    )
    options: dict[str, Any] = {"is_causal": True, "enable_gqa": True}
    chosen = CHOICES.get(int(torch._fused_sdp_choice(q, k, v, **options)), "unknown")

    def both() -> None:
        functional.scaled_dot_product_attention(q, k, v, **options).backward(q.detach())

    told: dict[str, Any] = {}
    for name, backend in BACKENDS.items():
        with sdpa_kernel([backend]):
            try:
                told[f"{name}_ms"] = stage.time(both, repeats=5)
            except RuntimeError as error:
                told[f"{name}_ms"] = "no: " + str(error).split(". ")[0].split("\n")[0][:60]
    stage.tell("attention", dtype=_name(dtype), rows=rows, length=length, chosen=chosen, **told)


def _float32_product(stage: Stage) -> None:
    """Tell whether a product of bfloat16 can be added to float32 without being rounded between."""
    trials, tokens, rank, width = (2, 32, 8, 32) if stage.toy else (16, 2048, 16, 896)
    left = torch.randn(trials, rank, tokens, device=stage.device, dtype=torch.bfloat16)
    right = torch.randn(trials, tokens, width, device=stage.device, dtype=torch.bfloat16)
    into = torch.zeros(trials, rank, width, device=stage.device)
    exact = torch.bmm(left.double(), right.double())

    def rounded() -> torch.Tensor:
        return into + torch.bmm(left, right)

    told = {"rounded_ms": stage.time(rounded), "rounded_error": _error(rounded(), exact)}
    try:
        whole = torch.baddbmm(into, left, right, out_dtype=torch.float32)
        told |= {
            "float32_ms": stage.time(lambda: torch.baddbmm(into, left, right, out_dtype=torch.float32)),
            "float32_error": _error(whole, exact),
        }
    except (RuntimeError, TypeError) as error:
        told["float32_ms"] = "no: " + str(error).split("\n")[0][:80]
    stage.tell("baddbmm with out_dtype", **told)


def _head(stage: Stage) -> None:
    """Tell what the head takes by the positions that go through at once, and fused where liger is here."""
    positions, width, vocab = (64, 32, 512) if stage.toy else (16 * 4 * 256, 896, 151936)
    hidden = torch.randn(positions, width, device=stage.device, dtype=torch.bfloat16)
    weight = torch.randn(vocab, width, device=stage.device, dtype=torch.bfloat16) * 0.02
    labels = torch.randint(vocab, (positions,), device=stage.device)

    def chunked(rows: int) -> None:
        for start in range(0, positions, rows):
            picked = hidden[start : start + rows].detach().requires_grad_()
            logits = functional.linear(picked, weight).float()
            loss = functional.cross_entropy(logits, labels[start : start + rows], reduction="none")
            torch.autograd.grad(loss.sum(), picked)

    told: dict[str, Any] = {}
    for rows in (16, 32) if stage.toy else (96, 512, 2048, 4096):
        stage.reset_peak()
        told[f"chunks_of_{rows}_ms"] = stage.time(lambda rows=rows: chunked(rows), repeats=3, warm=1)
        peak = stage.peak()
        if peak is not None:
            told[f"chunks_of_{rows}_mib"] = round(peak / MIB)
    if _liger(stage):
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Fused

        def fused() -> None:
            picked = hidden.detach().requires_grad_()
            loss = Fused.apply(picked, weight, labels)
            (loss[0] if isinstance(loss, tuple) else loss).backward()

        stage.reset_peak()
        told["liger_ms"] = stage.time(fused, repeats=3, warm=1)
        told["liger_mib"] = round((stage.peak() or 0) / MIB)
    stage.tell("head", positions=positions, **told)


def _norm(stage: Stage) -> None:
    """Tell what one RMSNorm takes, forward and backward, by who computes it."""
    tokens, width = (64, 32) if stage.toy else (16 * 4 * 512, 896)
    x = torch.randn(tokens, width, device=stage.device, dtype=torch.bfloat16, requires_grad=True)
    gradient = torch.randn_like(x)
    theirs = LlamaRMSNorm(width).to(x).requires_grad_(False)
    kinds: dict[str, Any] = {
        "transformers": theirs,
        "torch": lambda x: functional.rms_norm(x, (width,), theirs.weight, theirs.variance_epsilon),
    }
    if _liger(stage):
        from liger_kernel.transformers import LigerRMSNorm

        kinds["liger"] = LigerRMSNorm(width).to(x).requires_grad_(False)
    told = {
        f"{name}_ms": stage.time(lambda norm=norm: norm(x).backward(gradient)) for name, norm in kinds.items()
    }
    stage.tell("norm", tokens=tokens, **told)


def _operators(stage: Stage, base: Any, trials: int) -> None:
    """Tell the operators of a micro-step, and on a GPU the kernels and how long they keep it busy."""
    length = 32 if stage.toy else 512
    pack = steps.make_pack(base, make_geometry(base, rank=8 if stage.toy else 16, length=length), trials)
    try:
        batch = make_batch(base, trials=trials, rows=4, length=length)
        pack.accumulate(batch, [None] * trials)
        with counted() as counts:
            pack.accumulate(batch, [None] * trials)
        attention = sorted(name for name in counts.kernels if "scaled_dot_product" in name)
        told: dict[str, Any] = {
            "operators": counts.kernel_total,
            "reads": counts.read_total,
            "attention": attention,
        }
        if stage.device.type == "cuda":
            told |= _profiled(stage, lambda: pack.accumulate(batch, [None] * trials))
        stage.tell("operators", shape="0.5B", trials=trials, rows=4, length=length, **told)
    finally:
        steps.free(pack)


def _profiled(stage: Stage, call: Any) -> dict[str, Any]:
    """Return the kernels of a call and the share of its time in which one ran."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    stage.synchronize()
    with torch.profiler.profile(activities=activities) as profile:
        began = time.perf_counter()
        call()
        stage.synchronize()
        spent = time.perf_counter() - began
    kernels = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(event.device_time_total for event in kernels) / 1e6
    return {"kernels": len(kernels), "busy": busy / spent, "under_profiler_ms": 1000 * spent}


def _graph(stage: Stage, base: Any) -> None:
    """Tell whether a micro-step can be captured as it is, and what replaying it would take."""
    if stage.device.type != "cuda":
        stage.tell("graph capture", captured="skipped: a CPU has no graphs")
        return
    pack = steps.make_pack(base, make_geometry(base, rank=16, length=128), 4)
    batch = make_batch(base, trials=4, rows=1, length=128)

    def once() -> None:
        pack.accumulate(batch, [None] * 4)

    eager = stage.time(once)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            once()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            once()
    except Exception as error:  # what is found is the reason
        stage.tell("graph capture", captured="no: " + " ".join(str(error).split())[:120], eager_ms=eager)
        return
    stage.tell("graph capture", captured="yes", eager_ms=eager, replay_ms=stage.time(graph.replay))


def _liger(stage: Stage) -> bool:
    return stage.device.type == "cuda" and importlib.util.find_spec("liger_kernel") is not None


def _error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
