#!/usr/bin/env python3
"""Drives an X API with X's own Python library (xdk of PyPI), and checks what comes back.

    cargo run --release --package membrana-world --example stand-in -- x
    python3 tests/judges/x.py http://127.0.0.1:PORT

The account must have been mentioned by somebody, in a post that says `acme`. Exit code: 0 all is as the library expects it, 1 not,
77 skipped because the library cannot be had.
"""
import argparse, time

import packages

packages.need("xdk==0.10.6")
import requests
from xdk import Client
from xdk.direct_messages.models import CreateByParticipantIdRequest
from xdk.posts.models import CreateRequest, HideReplyRequest
from xdk.stream.models import UpdateRulesRequest

FIELDS = ["conversation_id", "created_at", "entities", "lang", "public_metrics", "text"]
EXPANSIONS = ["author_id", "in_reply_to_user_id", "referenced_posts"]
PAGES_MAX = 20


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("url")
    arguments.add_argument("--app-token", default="app")
    arguments.add_argument("--user-token", default="user")
    arguments = arguments.parse_args()
    app = Client(base_url=arguments.url, bearer_token=arguments.app_token)
    user = Client(base_url=arguments.url, access_token=arguments.user_token)

    me = plain(user.users.get_me(user_fields=["verified", "public_metrics"]))["data"]
    told("me", me["username"])
    mention = mentions(user, me)
    search(app, mention)
    posts(app, user, me, mention)
    hiding(app, user)
    directs(user, mention)
    rules(app)


def plain(answer):
    """As JSON has it: some answers of the library are models, some are not."""
    return answer.model_dump(exclude_none=True) if hasattr(answer, "model_dump") else answer


def told(step, what):
    print(f"ok  {step:10} {what}")


def pages(answers):
    """The posts of all pages, newest first and none twice."""
    posts = []
    for n, page in enumerate(answers):
        assert n < PAGES_MAX, "it never ends"
        page = plain(page)
        assert page["meta"]["result_count"] == len(page.get("data", [])), page["meta"]
        posts += page.get("data", [])
    ids = [int(post["id"]) for post in posts]
    assert ids == sorted(set(ids), reverse=True), ids
    return posts


def mentions(user, me):
    found = pages(user.users.get_mentions(id=me["id"], max_results=5, post_fields=FIELDS, expansions=EXPANSIONS))
    assert found, "nobody mentioned the account"
    for post in found:
        assert post["author_id"] != me["id"] and post["created_at"] and post["edit_history_post_ids"][-1] == post["id"], post
        assert any(named["id"] == me["id"] for named in post["entities"]["mentions"]), post
    told("mentions", f"{len(found)}, the first says: {found[0]['text']}")
    return found[0]


def search(app, mention):
    ask = lambda **more: pages(app.posts.search_recent(query="acme", max_results=10, post_fields=FIELDS, expansions=EXPANSIONS, **more))
    found = ask()
    assert mention["id"] in [post["id"] for post in found], found
    newest = found[0]["id"]
    assert ask(since_id=newest) == [], "since_id is exclusive"
    told("search", f"{len(found)}, none since {newest}")


def refused(call, status):
    try:
        call()
    except requests.HTTPError as error:
        assert error.response.status_code == status, error.response.text
        return
    raise AssertionError(f"it was not refused with {status}")


def create(user, text, answers=None):
    body = CreateRequest(text=text, reply={"in_reply_to_tweet_id": answers} if answers else None)
    made = plain(user.posts.create(body=body))["data"]
    assert made["text"] == text, made
    return made["id"]


def posts(app, user, me, mention):
    text = f"We are open again, {time.time_ns()}"
    made = create(user, text)
    seen = plain(app.posts.get_by_ids(ids=[made], post_fields=FIELDS, expansions=EXPANSIONS))["data"][0]
    assert (seen["text"], seen["author_id"], seen["conversation_id"]) == (text, me["id"], made), seen
    refused(lambda: create(user, text), 403)
    told("create", f"{made}; the same words again are refused")

    reply = create(user, f"We are sorry, {time.time_ns()}", mention["id"])
    own = pages(user.users.get_posts(id=me["id"], max_results=5, post_fields=FIELDS, expansions=EXPANSIONS))
    seen = next(post for post in own if post["id"] == reply)
    assert {"type": "replied_to", "id": mention["id"]} in seen["referenced_posts"], seen
    assert (seen["in_reply_to_user_id"], seen["conversation_id"]) == (mention["author_id"], mention["conversation_id"]), seen
    told("reply", f"{reply} under {mention['id']}")


def hiding(app, user):
    root = create(user, f"Questions? {time.time_ns()}")
    reply = create(user, f"One of mine. {time.time_ns()}", root)
    for wanted in (True, False):
        hidden = plain(user.posts.hide_reply(tweet_id=reply, body=HideReplyRequest(hidden=wanted)))["data"]["hidden"]
        assert hidden is wanted
    refused(lambda: user.posts.hide_reply(tweet_id=root, body=HideReplyRequest(hidden=True)), 403)
    told("hide", f"{reply}, and back; {root} itself cannot be hidden")


def directs(user, mention):
    person, text = mention["author_id"], f"Your case is open, {time.time_ns()}"
    sent = plain(user.direct_messages.create_by_participant_id(participant_id=person, body=CreateByParticipantIdRequest(text=text)))["data"]
    fields = {"dm_event_fields": ["created_at", "dm_conversation_id", "event_type", "text"], "expansions": ["sender_id"]}
    for page in user.direct_messages.get_events_by_participant_id(participant_id=person, max_results=10, **fields):
        event = next(event for event in plain(page)["data"] if event["id"] == sent["dm_event_id"])
        break
    assert (event["text"], event["dm_conversation_id"]) == (text, sent["dm_conversation_id"]), event
    told("direct", f"{event['id']} in {event['dm_conversation_id']}")


def rules(app):
    value = f"acme {time.time_ns()}"
    made = plain(app.stream.update_rules(body=UpdateRulesRequest(add=[{"value": value, "tag": "judge"}])))
    assert made["meta"]["summary"]["created"] == 1, made
    rule = made["data"][0]["id"]
    listed = lambda: [rule["id"] for page in app.stream.get_rules() for rule in plain(page).get("data", [])]
    assert rule in listed()
    gone = plain(app.stream.update_rules(body=UpdateRulesRequest(delete={"ids": [rule]})))
    assert gone["meta"]["summary"]["deleted"] == 1 and rule not in listed(), gone
    told("rules", f"{rule} made and taken away")


if __name__ == "__main__":
    main()
