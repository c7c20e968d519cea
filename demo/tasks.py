"""The instruction data of the demo: twelve small jobs of a harbour clerk, answered on slips.

A slip has a style that the pretraining text (logbook.py) never uses: a lower-case key, then values between
slashes, dates as numbers, no full stop. Its words and facts are those that the base model knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from .logbook import tell, tell_weather
from .world import (
    BOATS,
    FLAGS,
    GOODS,
    draw_call,
    draw_date,
    draw_day,
    draw_weather,
    spoken_time,
    written_date,
)

Record = dict[str, str]


def records(seed: int, count: int) -> list[Record]:
    """Return ``count`` different records in alpaca's fields, each job in turn while it has new ones."""
    rng = Random(f"loratune-demo/{seed}/instructions")
    seen: set[tuple[str, str]] = set()
    found: list[Record] = []
    jobs = _jobs(rng)
    while len(found) < count:
        record = next(jobs)
        key = (record["instruction"], record["input"])
        if key not in seen:
            seen.add(key)
            found.append(record)
    rng.shuffle(found)
    return found


def _jobs(rng: Random) -> Iterator[Record]:
    while True:
        for job in JOBS:
            instruction, text, answer = job(rng)
            yield {"instruction": instruction, "input": text, "output": answer}


def _slip(rng: Random) -> tuple[str, str, str]:
    call = draw_call(rng)
    way = "in from" if call.inbound else "out to"
    return (
        rng.choice(("Write a slip.", "Fill in a slip.")),
        tell(rng, call),
        f"boat {call.boat.name} / {way} {call.port} / time {call.time} / {call.goods} x {call.count}",
    )


def _field(rng: Random) -> tuple[str, str, str]:
    call = draw_call(rng)
    name, value = rng.choice(
        (
            ("time", call.time),
            ("port", call.port),
            ("cargo", f"{call.goods} x {call.count}"),
            ("boat", call.boat.name),
        )
    )
    return f"Find the {name}.", tell(rng, call), f"{name} / {value}"


def _date(rng: Random) -> tuple[str, str, str]:
    date = draw_date(rng)
    verb = rng.choice(("left", "came in"))
    text = f"The {rng.choice(BOATS).name} {verb} on {written_date(date)}."
    return "Write the date in numbers.", text, f"date / {date.isoformat()}"


def _clock(rng: Random) -> tuple[str, str, str]:
    call = draw_call(rng)
    verb = "came in" if call.inbound else "left"
    text = f"The {call.boat.name} {verb} at {spoken_time(call.minute)}."
    return "Write the time in numbers.", text, f"time / {call.time}"


def _words(rng: Random) -> tuple[str, str, str]:
    call = draw_call(rng)
    verb = "came in" if call.inbound else "left"
    text = f"The {call.boat.name} {verb} at {call.time}."
    return "Write the time in words.", text, f"time / {spoken_time(call.minute)}"


def _question(rng: Random) -> tuple[str, str, str]:
    call = draw_call(rng)
    did, way = ("come in", "from") if call.inbound else ("leave", "for")
    past = "came in" if call.inbound else "left"
    name = call.boat.name
    text, question = rng.choice(
        (
            (f"The {name} {past} at {call.time}.", f"when did {name} {did}"),
            (f"The {name} {past} {way} {call.port}.", f"where did {name} {did} {way}"),
            (f"The {name} carried {call.cargo}.", f"what did {name} carry"),
        )
    )
    return "Turn this into a question.", text, f"ask / {question} ?"


def _return(rng: Random) -> tuple[str, str, str]:
    call = draw_call(rng)
    back = f"out to {call.port}" if call.inbound else f"in from {call.port}"
    return "Write the way back.", tell(rng, call), f"boat {call.boat.name} / {back} / empty"


def _flag(rng: Random) -> tuple[str, str, str]:
    weather = draw_weather(rng)
    colour, meaning = FLAGS[weather.force]
    return "Which flag?", tell_weather(weather), f"flag / {colour} / {meaning}"


def _first(rng: Random) -> tuple[str, str, str]:
    one, other = draw_day(rng).calls[:2]
    while one.minute == other.minute:
        one, other = draw_day(rng).calls[:2]
    texts = [
        f"The {call.boat.name} {'came in' if call.inbound else 'left'} at {call.time}."
        for call in rng.sample((one, other), 2)
    ]
    return "Which boat was first?", " ".join(texts), f"first / {one.boat.name} / {one.time}"


def _register(rng: Random) -> tuple[str, str, str]:
    boat = rng.choice(BOATS)
    key, value = rng.choice((("master", boat.master), ("kind", boat.kind), ("home", boat.port)))
    question = rng.choice(("Look up the {}.", "Tell me the {}.", "Give the {}.")).format(key)
    text = rng.choice(("The {}.", "{}", "The boat {}.")).format(boat.name)
    return question, text, f"{boat.name} / {key} {value}"


def _total(rng: Random) -> tuple[str, str, str]:
    goods = rng.choice(tuple(GOODS))
    one, other = rng.randint(2, 12), rng.randint(2, 12)
    text = f"{one} {GOODS[goods]} of {goods} and {other} {GOODS[goods]} of {goods}."
    return "Add the cargo.", text, f"{goods} x {one} + {other} = {one + other}"


def _muster(rng: Random) -> tuple[str, str, str]:
    names = [boat.name for boat in rng.sample(BOATS, 3)]
    text = f"The {names[0]}, the {names[1]} and the {names[2]}."
    return "Put the boats in order of letters.", text, " / ".join(sorted(names))


JOBS = (
    _slip,
    _field,
    _date,
    _clock,
    _words,
    _question,
    _return,
    _flag,
    _first,
    _register,
    _total,
    _muster,
)
"""Every job: draws an instruction, its input and its answer."""
