"""Results as Markdown: how the stages ended, each one's figures, the pack beside plain PEFT.

Uses the standard library alone.
"""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]


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
    return "\n\n".join(parts)


def compare(results: list[Result]) -> list[Result]:
    """Return, for each micro-step of a pack that plain PEFT took too, how many times as fast a trial's is."""
    alone = {
        (one["shape"], one["rows"], one["length"]): one["ms_a_trial"]
        for one in results
        if one["stage"] == "plain" and "ms_a_trial" in one
    }
    found = []
    for one in results:
        if one["stage"] in ("shape_small", "shape_large") and "ms_a_trial" in one:
            peft = alone.get((one["shape"], one["rows"], one["length"]))
            if peft is not None:
                keys = ("shape", "trials", "groups_of", "checkpointed", "rows", "length", "ms_a_trial")
                row = {key: one[key] for key in keys if key in one}
                found.append({**row, "plain_peft_ms": peft, "times": round(peft / one["ms_a_trial"], 2)})
    return found


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
