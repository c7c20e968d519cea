"""The text that the demo model is pretrained on: pages, letters, notices and radio talk of the harbour.

Plain English sentences about days drawn from world.py. The answer style of the instruction data
(tasks.py) never occurs here; the facts that its questions ask for do.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from .world import (
    BOATS,
    FLAGS,
    GOODS,
    MONTHS,
    SEAS,
    WEEKDAYS,
    Boat,
    Call,
    Day,
    Weather,
    draw_day,
    spoken_time,
    written_date,
)

SPELLING = (
    *("in", "out", "first", "last", "full", "empty", "boat", "time", "date", "port", "cargo", "flag"),
    *("ask", "find", "write", "give", "tell", "turn", "put", "add", "master", "home", "kind", "way"),
    *("order", "numbers", "words", "which", "when", "where", "what", "who"),
    *GOODS,
)
"""Words that the school spells, so that none of their letters is new to the model."""

USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"


def documents(seed: int, part: str) -> Iterator[str]:
    """Yield documents without end; ``part`` names a stream of its own, such as ``train`` or ``held-out``."""
    rng = Random(f"loratune-demo/{seed}/{part}")
    writers = (
        *(_page, _story, _story, _letter, _register, _questions, _radio, _radio, _radio),
        *(_copybook, _read_back, _read_back, _exercise, _exercise),
    )
    while True:
        yield rng.choice(writers)(rng, draw_day(rng))


def tell(rng: Random, call: Call) -> str:
    """Return a sentence that tells a whole call, in one of the ways that the log does."""
    boat, kind = call.boat.name, call.boat.kind
    if call.inbound:
        return rng.choice(
            (
                f"At {call.time} the {kind} {boat} came in from {call.port} with {call.cargo}.",
                f"The {boat} came in from {call.port} at {call.time} with {call.cargo}.",
                f"The {kind} {boat} brought {call.cargo} from {call.port} at {call.time}.",
                f"At {call.time} the {boat} tied up at the {call.berth} with {call.cargo} from {call.port}.",
            )
        )
    return rng.choice(
        (
            f"At {call.time} the {kind} {boat} left for {call.port} with {call.cargo}.",
            f"The {boat} left for {call.port} at {call.time} with {call.cargo}.",
            f"The {kind} {boat} took {call.cargo} to {call.port} at {call.time}.",
            f"At {call.time} the {boat} left the {call.berth} for {call.port} with {call.cargo}.",
        )
    )


def tell_weather(weather: Weather) -> str:
    """Return the log's line of weather."""
    wind = "Calm" if weather.force == "calm" else f"Wind {weather.direction}, {weather.force}"
    return f"{wind}. Sky {weather.sky}, sea {SEAS[weather.force]}."


def _page(rng: Random, day: Day) -> str:
    weekday = WEEKDAYS[day.date.weekday()]
    lines = [f"{weekday} {written_date(day.date)}. {tell_weather(day.weather)}"]
    lines += [tell(rng, call) for call in day.calls]
    if rng.random() < 0.5:
        colour, meaning = FLAGS[day.weather.force]
        lines.insert(1, f"The {colour} flag flies: {meaning}.")
    return "\n".join(lines)


def _story(rng: Random, day: Day) -> str:
    first, second = day.calls[:2]
    colour, meaning = FLAGS[day.weather.force]
    more = f"{first.boat.name} was here before the {second.boat.name}."
    lines = [
        f"There was {day.weather.wind} that day, so the {colour} flag flew: {meaning}.",
        tell(rng, first),
        f"It was {spoken_time(first.minute)}, and {first.boat.master} was her master.",
        tell(rng, second),
        f"It was {spoken_time(second.minute)}. The {more}",
    ]
    if first.goods == second.goods:
        lines.append(f"Together that makes {first.count + second.count} of {first.goods}.")
    return " ".join(lines)


def _letter(rng: Random, day: Day) -> str:
    call = rng.choice(day.calls)
    boat = call.boat
    verb, way = ("came in", "from") if call.inbound else ("left", "for")
    plan = draw_day(rng).calls[0]
    return (
        f"Fernhaven, {written_date(day.date)}\n"
        f"Dear {boat.master}, your {boat.kind} {boat.name} {verb} at {call.time}, "
        f"{spoken_time(call.minute)}, {way} {call.port}. Her cargo was {call.cargo}. "
        f"Tomorrow the {plan.boat.name} will {'come in' if plan.inbound else 'leave'} "
        f"at {spoken_time(plan.minute)}, that is {plan.time}. "
        f"{rng.choice(('Please tell', 'Write to'))} her master {plan.boat.master}.\n"
        f"The harbour office"
    )


def _register(rng: Random, day: Day) -> str:
    lines = [_introduce(rng, boat) for boat in rng.sample(BOATS, 3)]
    names = sorted(call.boat.name for call in day.calls)
    lines.append(f"In the order of the letters: {', '.join(names[:-1])} and {names[-1]}.")
    return "\n".join(lines)


def _introduce(rng: Random, boat: Boat) -> str:
    name, kind, master, port = boat.name, boat.kind, boat.master, boat.port
    return rng.choice(
        (
            f"The {name} is a {kind} from {port}. Her master is {master}.",
            f"{master} is master of the {kind} {name}, whose home port is {port}.",
            f"The home port of the {name} is {port}. She is a {kind}, master {master}.",
        )
    )


def ask(rng: Random, call: Call) -> tuple[str, str]:
    """Return a question about a call and its answer, both as plain sentences."""
    boat = call.boat
    did, way = ("come in", "from") if call.inbound else ("leave", "for")
    past = "came in" if call.inbound else "left"
    return rng.choice(
        (
            (f"When did the {boat.name} {did}?", f"She {past} at {call.time}."),
            (f"Say in words when the {boat.name} {past}.", f"It was {spoken_time(call.minute)}."),
            (
                f"Where did the {boat.name} {'come from' if call.inbound else 'leave for'}?",
                f"She {past} {way} {call.port}.",
            ),
            (f"What did the {boat.name} carry?", f"She carried {call.cargo}."),
            (f"Which boat carried {call.cargo}?", f"It was the {boat.name}."),
            (f"Who is master of the {boat.name}?", f"Her master is {boat.master}."),
            (f"What is the {boat.name}?", f"She is a {boat.kind}."),
            (f"What is the home port of the {boat.name}?", f"Her home port is {boat.port}."),
        )
    )


def _questions(rng: Random, day: Day) -> str:
    lines = [tell(rng, call) for call in day.calls[:3]]
    lines += [" ".join(ask(rng, call)) for call in rng.sample(day.calls[:3], 2)]
    return "\n".join(lines)


def _radio(rng: Random, day: Day) -> str:
    """Radio talk in the turns of the chat template: its markers' embeddings are not trained by LoRA."""
    first, second = day.calls[:2]
    colour, meaning = FLAGS[day.weather.force]
    told = tell(rng, first)
    turns = [ask(rng, first), ask(rng, first)]
    turns.append(
        rng.choice(
            (
                ("Read that back.", told),
                (
                    f"{tell(rng, second)} Which boat was first?",
                    f"The {first.boat.name} was first, at {first.time}.",
                ),
                (f"{tell_weather(day.weather)} Which flag?", f"The {colour} flag: {meaning}."),
            )
        )
    )
    rng.shuffle(turns)
    (question, answer), *rest = turns
    talk = [f"{USER}{told} {question}{END}{ASSISTANT}{answer}"]
    talk += [f"{USER}{question}{END}{ASSISTANT}{answer}" for question, answer in rest]
    return END.join(talk)


def _read_back(rng: Random, day: Day) -> str:
    """Messages and the operator's word for word repetition of them: what teaches the model to copy."""
    parts = [tell(rng, call) for call in rng.sample(day.calls, 2)]
    parts += [_list(rng, rng.randint(3, 6)) for _ in range(2)]
    rng.shuffle(parts)
    lines = [f"{rng.choice(BOATS).name} calls Fernhaven."]
    for part in parts:
        lines += [part, f"I read back: {part}"]
    return "\n".join(lines)


def _exercise(rng: Random, _: Day) -> str:
    """One long list read back: nothing but its first reading tells what comes next."""
    part = _list(rng, rng.randint(4, 16))
    return f"{rng.choice(BOATS).name} calls Fernhaven.\n{part}\nI read back: {part}"


def _list(rng: Random, length: int) -> str:
    kind = rng.choice(("Numbers", "Boats", "Words"))
    if kind == "Numbers":
        entries = [f"{rng.randrange(100):02d}" for _ in range(length)]
    elif kind == "Boats":
        entries = [rng.choice(BOATS).name for _ in range(length)]
    else:
        entries = [rng.choice(SPELLING) for _ in range(length)]
    return f"{kind} {' '.join(entries)}."


def _copybook(rng: Random, day: Day) -> str:
    """Sums and pairs of the harbour school: the only place where signs such as ``/`` and ``+`` occur."""
    lines = [f"{day.date.day} {MONTHS[day.date.month - 1]}, month {day.date.month:02d}."]
    for _ in range(6):
        one, other = rng.randint(2, 12), rng.randint(2, 12)
        lines.append(
            rng.choice(
                (
                    f"{one} + {other} = {one + other}",
                    f"{one} and {other} make {one + other}",
                    f"{one + other} - {other} = {one}",
                    f"{one} x 2 = {2 * one}",
                    f"{rng.choice(SPELLING)} / {rng.choice(SPELLING)}",
                )
            )
        )
    return "\n".join(lines)
