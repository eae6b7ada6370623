"""What a person sees of the bookinfo productpage."""

from __future__ import annotations

from html import escape
from typing import Any

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{product}</title>
<style>
body {{ font-family: sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em; }}
.missing {{ color: #a00; }}
.black {{ color: #000; }}
.red {{ color: #c00; }}
small {{ color: #666; }}
</style>
</head>
<body>
<h1>{product}</h1>
<p>{greeting}</p>
<h2>Details</h2>
{details}
<h2>Reviews</h2>
{reviews}
</body>
</html>
"""


def html(page: dict[str, Any]) -> str:
    """The answer of productpage as a page."""
    if "error" in page:
        return _PAGE.format(product=escape(page["error"]), greeting="", details="", reviews="")
    return _PAGE.format(
        product=escape(page["product"]),
        greeting=_greeting(page["user"]),
        details=_details(page["details"]),
        reviews=_reviews(page["reviews"]),
    )


def _greeting(user: str) -> str:
    if user:
        return f'Signed in as <b>{escape(user)}</b>. <a href="/productpage">Sign out</a>'
    return '<a href="/productpage?u=jason">Sign in as jason</a>'


def _details(details: dict[str, Any]) -> str:
    if "error" in details:
        return _missing(details)
    shown = ("author", "year", "type", "pages", "publisher", "language")
    rows = "".join(f"<li>{name}: {escape(str(details[name]))}</li>" for name in shown)
    return f"<ul>{rows}</ul>"


def _reviews(reviews: dict[str, Any]) -> str:
    if "error" in reviews:
        return _missing(reviews)
    ratings = reviews.get("ratings", {})
    parts = [f"<p><small>answered by {escape(reviews['instance'])}</small></p>"]
    for review in reviews["reviews"]:
        stars = _stars(review.get("stars"), ratings.get("color", ""))
        parts.append(f"<p>{escape(review['text'])} &mdash; {escape(review['reviewer'])} {stars}</p>")
    if "error" in ratings:
        parts.append(_missing(ratings))
    return "\n".join(parts)


def _stars(number: int | None, color: str) -> str:
    return f'<span class="{color}">{"&#9733;" * number}</span>' if number else ""


def _missing(part: dict[str, Any]) -> str:
    return f'<p class="missing">{escape(part["error"])}</p>'
