"""The harbour of Fernhaven: its boats, people, cargoes and weather, and one day's events drawn at random.

Everything here is made up. Does not know how an event is told (logbook.py) or asked about (tasks.py).
"""

from __future__ import annotations

import dataclasses
import datetime
from random import Random

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
YEARS = tuple(range(1948, 1960))
DIRECTIONS = (
    "north",
    "north-east",
    "east",
    "south-east",
    "south",
    "south-west",
    "west",
    "north-west",
)
SKIES = ("clear", "cloudy", "rain", "fog")

SEAS = {
    "calm": "smooth",
    "light": "smooth",
    "fresh": "choppy",
    "strong": "rough",
    "gale": "rough",
}
"""The sea that each strength of wind raises."""

FLAGS = {
    "calm": ("green", "all boats may leave"),
    "light": ("green", "all boats may leave"),
    "fresh": ("yellow", "small boats stay in"),
    "strong": ("yellow", "small boats stay in"),
    "gale": ("red", "all boats stay in"),
}
"""The flag that the harbour flies for each strength of wind, and what it tells the boats."""

PORTS = ("Ostlin", "Carrow", "Fenby", "Tarn Point", "Saltmere", "Dunmoor", "Hale Ness", "Brackle")
BERTHS = ("north quay", "long pier", "fish steps", "coal wharf", "inner basin", "west wall")

GOODS = {
    "herring": "crates",
    "oysters": "crates",
    "apples": "crates",
    "salt": "sacks",
    "flour": "sacks",
    "barley": "sacks",
    "coal": "tons",
    "slate": "tons",
    "timber": "tons",
    "wool": "bales",
    "hay": "bales",
    "oil": "drums",
    "tar": "drums",
}
"""What is shipped, and the unit it is counted in."""

HOURS = (
    "twelve",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
)
MINUTES = {5: "five", 10: "ten", 15: "a quarter", 20: "twenty", 25: "twenty-five"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Boat:
    """A boat that Fernhaven knows."""

    name: str
    """Its name, such as ``Marigold``."""
    kind: str
    """What it is, such as ``ketch``."""
    master: str
    """Who commands it, always the same person."""
    port: str
    """Its home port."""


def _fleet() -> tuple[Boat, ...]:
    rows = """
        Amber: ketch, Ann Tarrow, Ostlin;       Brisk: cutter, Tom Pell, Carrow
        Curlew: trawler, Jack Orrin, Fenby;     Dunlin: barge, Mary Lusk, Saltmere
        Ember: tug, Will Gorse, Brackle;        Fulmar: trawler, Ruth Aske, Dunmoor
        Gannet: ferry, Sam Holt, Hale Ness;     Heron: ketch, Jane Fell, Tarn Point
        Iris: cutter, Ned Brock, Ostlin;        Juniper: barge, Kate Rowe, Carrow
        Kestrel: tug, Hugh Dale, Fenby;         Lantern: ferry, Rose Carr, Saltmere
        Marigold: ketch, Ben Thorne, Brackle;   Nimble: cutter, Ella Moss, Dunmoor
        Osprey: trawler, Alec Stroud, Hale Ness; Petrel: ferry, Meg Larch, Tarn Point
        Quickstep: tug, Dan Wick, Ostlin;       Robin: ketch, Joan Marsh, Carrow
        Skua: trawler, Luke Penn, Fenby;        Thistle: barge, Nell Hurst, Saltmere
        Umber: barge, Rob Vane, Brackle;        Violet: cutter, Lucy Stott, Dunmoor
        Willow: ferry, Ted Birch, Hale Ness;    Yarrow: tug, Sal Gower, Tarn Point
    """
    boats = []
    for row in rows.replace(";", "\n").strip().splitlines():
        name, rest = row.strip().split(": ")
        kind, master, port = rest.split(", ")
        boats.append(Boat(name=name, kind=kind, master=master, port=port))
    return tuple(boats)


BOATS = _fleet()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """One boat coming in, or leaving, with a cargo."""

    boat: Boat
    """Which boat."""
    inbound: bool
    """True where it came in, False where it left."""
    minute: int
    """Minutes after midnight, a multiple of 5."""
    port: str
    """Where it came from, or left for."""
    berth: str
    """Where it lay in Fernhaven."""
    count: int
    """How many units of cargo, 2 to 40."""
    goods: str
    """What it carried."""

    @property
    def time(self) -> str:
        """The time of day as the log writes it: ``07:40``."""
        return f"{self.minute // 60:02d}:{self.minute % 60:02d}"

    @property
    def cargo(self) -> str:
        """The cargo in words: ``12 crates of herring``."""
        return f"{self.count} {GOODS[self.goods]} of {self.goods}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weather:
    """The weather of a day."""

    direction: str
    """Where the wind blows from."""
    force: str
    """How strong it is: a key of ``FLAGS``."""
    sky: str
    """What the sky brings."""

    @property
    def wind(self) -> str:
        """The wind in words: ``a strong wind from the west``."""
        if self.force == "calm":
            return "a calm"
        if self.force == "gale":
            return f"a gale from the {self.direction}"
        return f"a {self.force} wind from the {self.direction}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Day:
    """A page of the log: a date, its weather, and the calls in the order of time."""

    date: datetime.date
    """The date."""
    weather: Weather
    """Its weather."""
    calls: tuple[Call, ...]
    """Who came and went."""


def draw_call(rng: Random, boat: Boat | None = None) -> Call:
    """Draw a call of any boat, or of the one given; half of the calls are with its home port."""
    boat = boat or rng.choice(BOATS)
    return Call(
        boat=boat,
        inbound=rng.random() < 0.5,
        minute=5 * rng.randrange(5 * 12, 22 * 12),
        port=boat.port if rng.random() < 0.5 else rng.choice(PORTS),
        berth=rng.choice(BERTHS),
        count=rng.randint(2, 40),
        goods=rng.choice(tuple(GOODS)),
    )


def draw_weather(rng: Random) -> Weather:
    """Draw the weather of a day."""
    return Weather(direction=rng.choice(DIRECTIONS), force=rng.choice(tuple(FLAGS)), sky=rng.choice(SKIES))


def draw_date(rng: Random) -> datetime.date:
    """Draw a date in the years of the log."""
    first = datetime.date(YEARS[0], 1, 1)
    last = datetime.date(YEARS[-1], 12, 31)
    return first + datetime.timedelta(days=rng.randrange((last - first).days + 1))


def draw_day(rng: Random) -> Day:
    """Draw a day of three to five calls, each of another boat."""
    calls = [draw_call(rng, boat) for boat in rng.sample(BOATS, rng.randint(3, 5))]
    return Day(
        date=draw_date(rng),
        weather=draw_weather(rng),
        calls=tuple(sorted(calls, key=lambda call: (call.minute, call.boat.name))),
    )


def written_date(date: datetime.date) -> str:
    """Write a date as the log does: ``14 March 1952``."""
    return f"{date.day} {MONTHS[date.month - 1]} {date.year}"


def spoken_time(minute: int) -> str:
    """Say a time of day as people do: 460 is ``twenty to eight in the morning``."""
    hour, past = divmod(minute, 60)
    part = "morning" if hour < 12 else "afternoon" if hour < 18 else "evening"
    this, following = HOURS[hour % 12], HOURS[(hour + 1) % 12]
    if past == 0:
        words = f"{this} o'clock"
    elif past == 30:
        words = f"half past {this}"
    elif past < 30:
        words = f"{MINUTES[past]} past {this}"
    else:
        words = f"{MINUTES[60 - past]} to {following}"
    return f"{words} in the {part}"
