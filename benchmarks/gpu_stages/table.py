"""Results as Markdown: how the stages ended, each one's figures, the pack beside plain PEFT.

Uses the standard library alone.
"""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]

PACKED = ("shape_small", "shape_large", "sweep")
"""Stages that tell micro-steps of a pack."""


def markdown(title: str, questions: dict[str, str], ends: list[Result], results: list[Result]) -> str:
    """Return everything as tables."""
    parts = [title, _ends(questions, ends)]
    for end in ends:
        own = [result for result in results if result["stage"] == end["stage"]]
        for name in dict.fromkeys(result["result"] for result in own):
            rows = [result for result in own if result["result"] == name]
            parts += [f"{end['stage']}: {name}", _rows(rows)]
    compared = compare(results)
    if compared:
        parts += ["a trial's step in the pack beside plain PEFT", _rows(compared)]
    parts += ["what it aims at", _rows(aims(results))]
    return "\n\n".join(parts)


def compare(results: list[Result]) -> list[Result]:
    """Return, for each micro-step of a pack that plain PEFT took too, how many times as fast a trial's is.

    Replayed where it was recorded, as a search has it where twice its slots would fit.
    """
    alone = {
        (one["shape"], one["rows"], one["length"]): one["ms_a_trial"]
        for one in results
        if one["stage"] == "plain" and "ms_a_trial" in one
    }
    found = []
    for one in results:
        if one["stage"] in PACKED and "ms_a_trial" in one:
            peft = alone.get((one["shape"], one["rows"], one["length"]))
            if peft is not None:
                keys = ("shape", "trials", "groups_of", "checkpointed", "rows", "length", "ms_a_trial")
                row = {key: one[key] for key in (*keys, "replayed_ms_a_trial") if key in one}
                ours = one.get("replayed_ms_a_trial", one["ms_a_trial"])
                found.append({**row, "plain_peft_ms": peft, "times": round(peft / ours, 2)})
    return found


def aims(results: list[Result]) -> list[Result]:
    """Return each aim beside what was measured of it: the worst that counts, or that it was not measured."""
    steps = [one for one in results if one["stage"] in PACKED and "layer_tflops" in one]
    compared = compare(results)

    def times(shape: str, rows: int, lengths: range) -> list[float]:
        """Return, for each batch, how many times plain PEFT the best number of trials is."""
        found: dict[Any, float] = {}
        for one in compared:
            counts = one["rows"] <= rows and one["length"] in lengths and not one.get("checkpointed")
            if one["shape"] == shape and counts:
                batch = (one["rows"], one["length"])
                found[batch] = max(found.get(batch, 0.0), one["times"])
        return list(found.values())

    ceiling = max((one["bf16_tflops"] for one in results if "bf16_tflops" in one), default=None)

    def share(shape: str) -> float | None:
        rates = [one.get("replayed_tflops", one["layer_tflops"]) for one in steps if one["shape"] == shape]
        return max(rates) / ceiling if rates and ceiling else None

    apart = [abs(one["estimate_of_peak"] - 1) for one in steps if "estimate_of_peak" in one]
    large = [one["times"] for one in compared if one["shape"] == "8B" and not one.get("checkpointed")]
    return [
        *(
            _aim(
                f"0.5B, batch of 4 at most, {words}: times plain PEFT, worst batch",
                6.0,
                min(times("0.5B", 4, lengths), default=None),
            )
            for words, lengths in (
                ("up to 512 tokens", range(513)),
                ("longer examples", range(513, 2**20)),
            )
        ),
        _aim("8B: times plain PEFT, worst setting", 1.0, min(large, default=None)),
        _aim("0.5B: share of the measured product, best", 0.35, share("0.5B")),
        _aim("8B: share of the measured product, best", 0.45, share("8B")),
        _aim("memory: model and peak apart, worst", 0.15, max(apart, default=None), at_most=True),
    ]


def _aim(what: str, wanted: float, found: float | None, *, at_most: bool = False) -> Result:
    said: Result = {"aim": what, "wanted": f"at {'most' if at_most else 'least'} {wanted:g}"}
    if found is None:
        return {**said, "measured": "not measured", "met": ""}
    return {**said, "measured": round(found, 3), "met": found <= wanted if at_most else found >= wanted}


def _ends(questions: dict[str, str], ends: list[Result]) -> str:
    lines = ["| stage | what | | seconds |", "|---|---|---|---|"]
    for end in ends:
        how = end["status"] + (f": {end['why']}" if "why" in end else "")
        lines.append(
            f"| {end['stage']} | {questions[end['stage']]} | {_cell(how)} | {_cell(end.get('seconds'))} |"
        )
    return "\n".join(lines)


def _rows(rows: list[Result]) -> str:
    """Return results of one kind; where there is but one, a line for each figure."""
    shown = [
        {key: value for key, value in row.items() if key not in ("stage", "result", "toy")} for row in rows
    ]
    names = list(dict.fromkeys(key for row in shown for key in row))
    if len(shown) == 1:
        lines = ["| | |", "|---|---|"]
        lines += [f"| {_words(name)} | {_cell(shown[0][name])} |" for name in names]
        return "\n".join(lines)
    lines = [f"| {' | '.join(_words(name) for name in names)} |", "|---" * len(names) + "|"]
    lines += [f"| {' | '.join(_cell(row.get(name)) for name in names)} |" for row in shown]
    return "\n".join(lines)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{_words(key)} {_cell(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(_cell(one) for one in value) or "none"
    return str(value).replace("|", "/")
