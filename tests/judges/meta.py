#!/usr/bin/env python3
"""Drives a Graph API with Meta's own Python library (facebook-business of PyPI), and checks what comes back.

    cargo run --release --package membrana-world --example stand-in -- meta
    python3 tests/judges/meta.py http://127.0.0.1:PORT

Somebody must have commented on the Page and on Instagram, and have written to the Page. Exit code: 0 all is as the library expects
it, 1 not, 77 skipped because the library cannot be had.
"""
import argparse, time, warnings

import packages

packages.need("facebook-business==26.0.3")
from facebook_business.adobjects.comment import Comment
from facebook_business.adobjects.igcomment import IGComment
from facebook_business.adobjects.iguser import IGUser
from facebook_business.adobjects.page import Page
from facebook_business.adobjects.unifiedthread import UnifiedThread
from facebook_business.api import FacebookAdsApi
from facebook_business.exceptions import FacebookRequestError
from facebook_business.session import FacebookSession


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("url")
    arguments.add_argument("--token", default="page")
    arguments.add_argument("--app-secret", default="app-secret")
    arguments.add_argument("--page", default="24577871820615455")
    arguments.add_argument("--account", default="17841405309211844")
    arguments = arguments.parse_args()
    # Its lists of fields know nothing of what is inside a conversation's messages.
    warnings.filterwarnings("ignore", message="(conversations|messages) does not allow field")
    FacebookSession.GRAPH = arguments.url
    FacebookAdsApi.init(app_id="1", app_secret=arguments.app_secret, access_token=arguments.token, timeout=20)
    page = Page(arguments.page).api_get(fields=["name", "link"])
    told("page", page["name"])
    comment = feed(page)
    reply(page, comment)
    privately(page, comment)
    conversations(page)
    instagram(IGUser(arguments.account))


def told(step, what):
    print(f"ok  {step:14} {what}")


def refused(call, code):
    try:
        call()
    except FacebookRequestError as error:
        assert error.api_error_code() == code, error
        return
    raise AssertionError(f"it was not refused with code {code}")


def seconds(date):
    """Meta writes no colon into the offset."""
    return time.mktime(time.strptime(date, "%Y-%m-%dT%H:%M:%S%z"))


def feed(page):
    """The newest comment by somebody else, on the post that it stands under."""
    posts = list(page.get_feed(fields=["message", "created_time", "from", "permalink_url"], params={"limit": 10}))
    dates = [seconds(post["created_time"]) for post in posts]
    assert posts and dates == sorted(dates, reverse=True), "the feed begins with the newest"
    told("feed", f"{len(posts)} posts, the newest says: {posts[0]['message']}")
    fields = ["message", "created_time", "from", "parent", "can_reply_privately", "is_hidden", "permalink_url"]
    for post in posts:
        params = {"filter": "stream", "order": "chronological", "limit": 2}
        comments = list(post.get_comments(fields=fields, params=params))
        assert len({comment["id"] for comment in comments}) == len(comments), "none comes twice over all pages"
        others = [comment for comment in comments if comment.get("from", {}).get("id") not in (None, page["id"])]
        if others:
            told("comments", f"{len(comments)}, the last says: {others[-1]['message']}")
            return others[-1]
    raise AssertionError("nobody commented on the Page")


def reply(page, comment):
    text = f"We are sorry, {time.time_ns()}"
    made = comment.create_comment(params={"message": text})
    seen = Comment(made["id"]).api_get(fields=["message", "from", "parent", "is_hidden"])
    assert (seen["message"], seen["from"]["id"]) == (text, page["id"]), seen
    answers = [answer["id"] for answer in comment.get_comments()]
    assert made["id"] in answers, answers
    refused(lambda: comment.create_comment(params={"message": text}), 506)
    told("reply", f"{made['id']}; the same words again are refused")
    for wanted in (True, False):
        comment.api_update(params={"is_hidden": wanted})
        assert Comment(comment["id"]).api_get(fields=["is_hidden"])["is_hidden"] is wanted
    told("hide", f"{comment['id']}, and back")


def privately(page, comment):
    params = {"recipient": {"comment_id": comment["id"]}, "message": {"text": f"In private, {time.time_ns()}"}}
    sent = page.create_message(params=params)
    assert sent["message_id"] and sent["recipient_id"] == comment["from"]["id"], sent
    refused(lambda: page.create_message(params=params), 10900)
    told("private reply", f"{sent['message_id']}; a second one is refused")


def conversations(page):
    """Answers who wrote last, and finds the answer in the thread."""
    fields = ["updated_time", "participants", "messages{id,created_time,from,to,message}"]
    for thread in page.get_conversations(fields=fields, params={"platform": UnifiedThread.Platform.messenger}):
        theirs = [message for message in thread["messages"]["data"] if message["from"]["id"] != page["id"]]
        if theirs:
            break
    else:
        raise AssertionError("nobody wrote to the Page")
    person, text = theirs[0]["from"]["id"], f"Your case is open, {time.time_ns()}"
    sent = page.create_message(params={"recipient": {"id": person}, "messaging_type": "RESPONSE", "message": {"text": text}})
    said = {message["id"]: message for message in thread.get_messages(fields=["message", "from", "created_time"])}
    assert said[sent["message_id"]]["message"] == text, said
    told("conversations", f"{thread['id']}, answered by {sent['message_id']}")


def instagram(account):
    for medium in account.get_media(fields=["caption", "timestamp", "username", "comments_count"]):
        comments = list(medium.get_comments(fields=["text", "timestamp", "username", "from", "parent_id"], params={"limit": 2}))
        if comments:
            break
    else:
        raise AssertionError("nobody commented on Instagram")
    assert len({comment["id"] for comment in comments}) == len(comments), "none comes twice over all pages"
    text = f"Thank you, {time.time_ns()}"
    made = comments[0].create_reply(params={"message": text})
    assert IGComment(made["id"]).api_get(fields=["text"])["text"] == text
    assert made["id"] in [answer["id"] for answer in comments[0].get_replies(fields=["text"])]
    comments[0].api_update(params={"hide": True})
    assert IGComment(comments[0]["id"]).api_get(fields=["hidden"])["hidden"] is True
    comments[0].api_update(params={"hide": False})
    told("instagram", f"{len(comments)} comments, {made['id']} answers one")


if __name__ == "__main__":
    main()
