"""What MLflow's page of a finished scan shows: a description that leads on, the contact sheet, the
table of the most suspicious images, the page and its first pictures.

MLflow makes HTML of a description's Markdown, and names of files come from outside: they are
written so that they stay text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forensics.report.build import Review
from forensics.run import Run
from forensics.text import markdown_text, shell_word, visible
from jobs.tracking import Tracker

PAGE, CONTACT, SUSPECTS = "page.html", "contact-sheet.png", "suspects.json"
_LISTED = 5  # images named in the description
_SHOWN = ("rank", "file", "score", "detector", "decision", "pristine_higher")
_GUIDE = (
    f"Under *Artifacts*: **{CONTACT}**, the worst at a glance; **{SUSPECTS}**, the most suspicious "
    f"with where they are and what opens their evidence; **{PAGE}**, to look through. To decide on "
    "images, open the page in the run's folder: what it saves does not leave MLflow's frame."
)


def show(tracker: Tracker, run: Run, review: Review | None, lines: Sequence[str]) -> None:
    """Log it; ``lines`` are what the job says at its end, ``review`` is None where there is none.

    What an earlier part of the same scan has logged is replaced.
    """
    description = [markdown_text(line) for line in lines]
    if review is not None:
        description += _description(run, review)
        tracker.text(review.page, PAGE)
        for rank, picture in enumerate(review.pictures, 1):
            tracker.picture(picture, f"pictures/worst-{rank:02d}.png")
        if review.contact is not None:
            tracker.picture(review.contact, CONTACT)
        if review.suspects["rank"]:
            tracker.table(review.suspects, SUSPECTS)
    tracker.tags({"mlflow.note.content": "\n\n".join(description)})  # what MLflow shows first


def _description(run: Run, review: Review) -> Iterator[str]:
    """Blocks of Markdown."""
    if review.suspects["rank"]:
        yield "\n".join(_table(review))
    yield _GUIDE
    command = visible(f"python -m jobs.report --run {shell_word(run.uri)}")
    ways = {
        "--decisions FILE": "the decisions that the page has saved, into the run",
        "--bundle IMAGE_ID": "the evidence of one image",
        "--pictures 10000": "pictures of so many images, not only of the first",
    }
    yield "\n".join(f"    {command} {way}  # {what}" for way, what in ways.items())


def _table(review: Review) -> Iterator[str]:
    """The first of the most suspicious; MLflow leaves no room around cells and tables."""
    names = [name for name in _SHOWN if name in review.suspects]
    rows = zip(*(review.suspects[name][:_LISTED] for name in names), strict=True)
    yield _line([name.replace("_", " ") for name in names])
    yield "|" + "---|" * len(names)
    for row in rows:
        yield _line([markdown_text(_cell(value)) for value in row])
    yield "\n&#160;"


def _line(cells: Sequence[str]) -> str:
    return f"| {' &#160; | '.join(cells)} |"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "–" if value is None or value == "" else str(value)[:80]
