#!/usr/bin/env python3
"""Compares the feed plugin's parser with feedparser, on feedparser's own test feeds.

Of the files where feedparser finds ids or titles of entries, how many give the same ids and titles here? The bar is
95 %. Titles are compared as a reader sees them: without markup, white space as one blank. Dates are printed beside.

Needs pip and a package index, or the two source distributions in the folder that FEEDPARSER_SDIST names.
Exit code: 0 reached, 1 under the bar.
"""
import argparse
import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

BAR = 95.0
REQUIREMENTS = ["feedparser==6.0.11", "sgmllib3k==1.0.0"]
ROOT = pathlib.Path(__file__).resolve().parents[2]
GROUPS = ["wellformed", "illformed", "encoding"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--show", action="store_true", help="print every file that differs")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        feeds = fetch(work)
        theirs = {}
        for group in GROUPS:
            for path in sorted((feeds / group).rglob("*.xml")):
                theirs[str(path.relative_to(feeds))] = feedparser_reads(path)
        ours = plugin_reads(feeds)
    verdict = Verdict(arguments.show)
    for name, expected in theirs.items():
        verdict.add(name, expected, ours.get(name))
    sys.exit(verdict.tell())


def fetch(work):
    """Downloads and unpacks; puts feedparser on the path; gives the folder of its tests."""
    sdists = os.environ.get("FEEDPARSER_SDIST")
    if not sdists:
        sdists = work / "sdists"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:", "--dest", str(sdists)]
        subprocess.run(command + REQUIREMENTS, check=True, timeout=300)
    for sdist in pathlib.Path(sdists).glob("*.tar.gz"):
        with tarfile.open(sdist) as archive:
            archive.extractall(work, filter="data")
    for requirement in REQUIREMENTS:
        sys.path.insert(0, str(work / requirement.replace("==", "-")))
    return work / "feedparser-6.0.11" / "tests"


def feedparser_reads(path):
    import feedparser

    body = path.read_bytes()
    stated = re.findall(rb"^\s*Header:\s+(\S+?):\s*(.+?)\s*$", body[:2048], re.M)
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in stated}
    try:
        feed = feedparser.parse(body, response_headers=headers)
    except Exception as error:  # On a few of its own files it falls over with newer Pythons.
        print(f"feedparser itself fails on {path.name}: {type(error).__name__}", file=sys.stderr)
        return {"title": None, "entries": []}
    return {"title": seen(feed.feed.get("title_detail")), "entries": [entry(e) for e in feed.entries]}


def entry(found):
    return {
        "id": found.get("id"),
        "title": seen(found.get("title_detail")),
        "published": found.get("published_parsed"),
        "updated": found.get("updated_parsed") if "updated" in found.keys() else None,
    }


def plugin_reads(feeds):
    command = ["cargo", "run", "--quiet", "--release", "--package", "membrana-feed", "--example", "judge", "--", str(feeds)]
    told = subprocess.run(command, cwd=ROOT, check=True, timeout=1800, stdout=subprocess.PIPE).stdout
    lines = [json.loads(line) for line in told.decode().splitlines()]
    return {line["file"]: line for line in lines}


class Text(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.text = ""

    def handle_data(self, data):
        self.text += data


def seen(detail):
    """What a reader sees of a title."""
    if not detail or detail.get("value") is None:
        return None
    value = detail["value"]
    if detail.get("type") in ("text/html", "application/xhtml+xml"):
        reader = Text()
        reader.feed(value)
        reader.close()
        value = reader.text
    return " ".join(value.split()) or None


class Verdict:
    def __init__(self, show):
        self.show = show
        self.n_files = self.n_same = 0
        self.parts = {part: [0, 0] for part in ("entries", "ids", "titles", "feed titles", "dates")}

    def add(self, name, expected, given):
        given = given or {}
        entries = given.get("entries") or []
        self.beside("feed titles", expected["title"], blank(given.get("title")))
        if not expected["entries"]:
            return
        self.count("entries", len(expected["entries"]) == len(entries))
        pairs = list(zip(expected["entries"], entries + [{}] * len(expected["entries"])))
        for theirs, ours in pairs:
            self.beside("ids", theirs["id"], ours.get("id"))
            self.beside("titles", theirs["title"], blank(ours.get("title")))
            # Which of the two `dc:date` is, is a matter of taste.
            dates = {seconds(ours.get("published")), seconds(ours.get("updated"))}
            for key in ("published", "updated"):
                found = moment(theirs[key])
                self.beside("dates", found, found if found in dates else None)
        if not any(theirs["id"] or theirs["title"] for theirs, _ in pairs):
            return
        told = [(e["id"], e["title"]) for e in expected["entries"]]
        here = [(o.get("id") if e["id"] else None, blank(o.get("title")) if e["title"] else None) for e, o in pairs]
        same = told == here and len(entries) == len(expected["entries"])
        self.n_files += 1
        self.n_same += same
        if self.show and not same:
            print(f"{name}\n  feedparser {told}\n  here       {here if entries else given.get('entries')}")

    def beside(self, part, theirs, ours):
        if theirs is not None and theirs != "":
            self.count(part, theirs == ours)

    def count(self, part, same):
        self.parts[part][0] += same
        self.parts[part][1] += 1

    def tell(self):
        for part, (same, all_of) in self.parts.items():
            print(f"{part:12} {same:5} of {all_of:5} the same  {percent(same, all_of):6.2f} %")
        reached = percent(self.n_same, self.n_files)
        print(f"{'files':12} {self.n_same:5} of {self.n_files:5} the same  {reached:6.2f} %  bar {BAR:.0f} %  {'holds' if reached >= BAR else 'MISSED'}")
        return 0 if reached >= BAR else 1


def percent(part, whole):
    return 100.0 * part / whole if whole else 0.0


def blank(text):
    return " ".join(text.split()) or None if text else None


def moment(parsed):
    import calendar

    if not parsed:
        return None
    try:
        return calendar.timegm(parsed)
    except (ValueError, OverflowError):
        return None


def seconds(milliseconds):
    return None if milliseconds is None else milliseconds // 1000


if __name__ == "__main__":
    main()
