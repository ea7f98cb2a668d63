"""The tables of the ledger. Times are the ledger's own clock, in epoch seconds."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

#: SQLite numbers rows by itself only for INTEGER keys.
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Time: sa.Double[float] = sa.Double()
#: What digest_of returns. PostgreSQL keeps its 16 bytes: the indexes, of which any page may be asked for
#: next, are half as large as those of the digits, and no collation is asked for what comes before what.
Hash = sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql")

#: One row: who this ledger is.
identity = sa.Table(
    "identity",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("ledger_id", sa.Text, nullable=False),
    # Keys the contact hash in the logs when the settings name no key.
    sa.Column("log_key", sa.Text, nullable=False),
    # SQLite: the boot during which clock_base was taken; leases of another boot have expired.
    sa.Column("boot_id", sa.Text),
    # SQLite: ledger time = clock_base + BOOTTIME, so that a step of the wall clock moves nothing.
    sa.Column("clock_base", Time),
)

#: One row per (route, contact, thread): the unit of order and of the lease.
conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    # Hash of (route, contact, thread).
    sa.Column("key", Hash, nullable=False, unique=True),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("contact_id", sa.Text, nullable=False),
    sa.Column("thread_id", sa.Text),
    sa.Column("external_id", sa.Text, nullable=False),
    sa.Column("project_id", sa.BigInteger),
    sa.Column("session_id", sa.Text),
    sa.Column("conversation_id", sa.BigInteger),
    sa.Column("highest_message_id", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("create_intent_at", Time),
    # JSON array.
    sa.Column("forgotten_session_ids", sa.Text, nullable=False, server_default="[]"),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
    # Creations begun since the last session was saved; more than one may leave an extra conversation.
    sa.Column("creates", sa.Integer, nullable=False, server_default="0"),
    # When to look for extra conversations at the API.
    sa.Column("heal_at", Time),
    # Looks so far: one that comes later finds what the API lists late.
    sa.Column("heal_looks", sa.Integer, nullable=False, server_default="0"),
    # A question failed and the settings say that its conversation waits for a person.
    sa.Column("is_blocked", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("lease_token", sa.BigInteger, nullable=False, server_default="0"),
    # 0 while nobody holds it.
    sa.Column("lease_until", Time, nullable=False, server_default="0"),
    sa.Column("owner", sa.Text),
    # When its next question may be claimed: since when it is ready, or until when it is snoozed or leased.
    # Null while nothing waits.
    sa.Column("due_at", Time),
    # When its last question was answered or given up: one that was there before waited for it.
    sa.Column("ended_at", Time),
    sa.Column("created_at", Time, nullable=False),
    # When the last was erased that it had been asked; null from the next claim on. One that stays quiet goes.
    sa.Column("quiet_since", Time),
)
_is_quiet = conversations.c.quiet_since.is_not(None)
sa.Index(
    "conversations_quiet",
    conversations.c.quiet_since,
    postgresql_where=_is_quiet,
    sqlite_where=_is_quiet,
)
sa.Index(
    "conversations_due",
    conversations.c.due_at,
    conversations.c.number,
    postgresql_where=conversations.c.due_at.is_not(None),
    sqlite_where=conversations.c.due_at.is_not(None),
)
sa.Index(
    "conversations_leased",
    conversations.c.lease_until,
    postgresql_where=conversations.c.lease_until > 0,
    sqlite_where=conversations.c.lease_until > 0,
)

_has_heal_at = conversations.c.heal_at.is_not(None)
sa.Index(
    "conversations_heal",
    conversations.c.heal_at,
    postgresql_where=_has_heal_at,
    sqlite_where=_has_heal_at,
)

#: The words of partial indexes. SQLite uses such an index only for a query that repeats its words.
IS_OPEN = "state in ('waiting', 'posting')"
#: The same beside a question's number, in words that match no partial index. The planner believes that such
#: an index holds next to nothing; while a backup keeps dead rows in it, reading it through takes long (seen).
IS_OPEN_BY_NUMBER = "coalesce(questions.state, '') in ('waiting', 'posting')"
IS_UNPUBLISHED = "state <> 'published'"
IS_UNPUBLISHED_BY_NUMBER = "coalesce(state, '') <> 'published'"
IS_LEASED = "lease_until > 0"

_is_open = sa.text(IS_OPEN)
_is_posting = sa.text("state = 'posting'")
_has_message = sa.text("message_id is not null")

#: One row per accepted event. The number is the arrival order.
questions = sa.Table(
    "questions",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    # Hash of (source, id): the identity of the event.
    sa.Column("event_hash", Hash, nullable=False, unique=True),
    # Hash of (contact, thread, question): tells a repeat from a conflict.
    sa.Column("data_hash", Hash, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("reply_id", sa.Text, nullable=False),
    sa.Column("conversation", Number, nullable=False),
    # waiting, posting (an intent is outstanding), answered or failed.
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    # JSON: question, lang, metadata, time, trace. JSON because its escapes carry NUL, which PostgreSQL's text
    # cannot.
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("received_at", Time, nullable=False),
    sa.Column("expires_at", Time),
    sa.Column("is_redelivered", sa.Boolean, nullable=False),
    # The contact had asked as many questions as a day allows.
    sa.Column("is_over_limit", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("posts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("expired_leases", sa.Integer, nullable=False, server_default="0"),
    sa.Column("intent_at", Time),
    sa.Column("intent_session_id", sa.Text),
    sa.Column("baseline_message_id", sa.BigInteger),
    # The baseline of the first post, where the outcome of a later one was unknown too.
    sa.Column("first_baseline_message_id", sa.BigInteger),
    sa.Column("looks", sa.Integer, nullable=False, server_default="0"),
    sa.Column("has_ended", sa.Boolean, nullable=False, server_default=sa.false()),
    # The API began to stream the answer to the outstanding post: it is never posted again.
    sa.Column("is_accepted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("session_id", sa.Text),
    sa.Column("message_id", sa.BigInteger),
    sa.Column("outcome", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("finished_at", Time),
    # After a repost: when to look whether the first post showed up after all.
    sa.Column("second_look_at", Time),
    # What that look found: the message of a second post.
    sa.Column("duplicate_message_id", sa.BigInteger),
    # A sender found that its bytes left later than the grace allows.
    sa.Column("late_post_at", Time),
)
sa.Index(
    "questions_open",
    questions.c.conversation,
    questions.c.state,
    questions.c.number,
    postgresql_where=_is_open,
    sqlite_where=_is_open,
)
sa.Index("questions_posting", questions.c.intent_at, postgresql_where=_is_posting, sqlite_where=_is_posting)
# A message answers one question: the claim of PROTOCOL 5.4.
sa.Index(
    "questions_message",
    # In this order, because the API's ids grow: new entries go side by side, and not all over the index.
    questions.c.message_id,
    questions.c.session_id,
    unique=True,
    postgresql_where=_has_message,
    sqlite_where=_has_message,
)
sa.Index(
    "questions_finished",
    questions.c.finished_at,
    postgresql_where=questions.c.finished_at.is_not(None),
    sqlite_where=questions.c.finished_at.is_not(None),
)

_has_second_look = questions.c.second_look_at.is_not(None)
sa.Index(
    "questions_second_look",
    questions.c.second_look_at,
    postgresql_where=_has_second_look,
    sqlite_where=_has_second_look,
)
_is_suspect = sa.text("duplicate_message_id is not null or late_post_at is not null")
sa.Index("questions_suspect", questions.c.number, postgresql_where=_is_suspect, sqlite_where=_is_suspect)

_is_unpublished = sa.text(IS_UNPUBLISHED)

#: The outbox: one row per reply, with its frozen body.
replies = sa.Table(
    "replies",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    sa.Column("question", Number, nullable=False),
    sa.Column("conversation", Number, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    # JSON: question_id, traceparent, tracestate.
    sa.Column("headers", sa.Text, nullable=False),
    # waiting, aside (the broker returned it: it holds up nobody) or published.
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    sa.Column("owner", sa.Text),
    # When anybody may publish it; null once it is published.
    sa.Column("due_at", Time),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("code", sa.Text),
    sa.Column("recorded_at", Time, nullable=False),
    sa.Column("published_at", Time),
    # When a repeat of the event last made it due again.
    sa.Column("repeated_at", Time),
)
sa.Index(
    "replies_due",
    replies.c.due_at,
    postgresql_where=replies.c.due_at.is_not(None),
    sqlite_where=replies.c.due_at.is_not(None),
)
sa.Index(
    "replies_unpublished",
    replies.c.conversation,
    replies.c.number,
    postgresql_where=_is_unpublished,
    sqlite_where=_is_unpublished,
)
sa.Index("replies_question", replies.c.question)

#: What is left of a question after its contents were erased: enough to know the event again.
erased = sa.Table(
    "erased",
    metadata,
    sa.Column("event_hash", Hash, primary_key=True),
    sa.Column("finished_at", Time, nullable=False),
)
sa.Index("erased_finished", erased.c.finished_at)

#: How many questions a contact asked on a day; only while there is a limit.
contact_days = sa.Table(
    "contact_days",
    metadata,
    # Hash of (route, contact).
    sa.Column("contact", Hash, primary_key=True),
    # Days since 1970-01-01 UTC.
    sa.Column("day", sa.Integer, primary_key=True),
    sa.Column("asked", sa.Integer, nullable=False),
)
sa.Index("contact_days_day", contact_days.c.day)

#: What contacts think of answers: one row for an answer, with the last rating of it.
ratings = sa.Table(
    "ratings",
    metadata,
    sa.Column("question", Number, primary_key=True, autoincrement=False),
    # liked, disliked or neutral.
    sa.Column("rating", sa.Text, nullable=False),
    # Raised by every rating.
    sa.Column("version", sa.Integer, nullable=False),
    # When it is sent, or until when it is leased or put off; null once the API has it, or never will.
    sa.Column("due_at", Time),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("code", sa.Text),
)
_is_to_be_sent = ratings.c.due_at.is_not(None)
sa.Index("ratings_due", ratings.c.due_at, postgresql_where=_is_to_be_sent, sqlite_where=_is_to_be_sent)

#: Enough of each rating to know the event again.
rating_events = sa.Table(
    "rating_events",
    metadata,
    sa.Column("event_hash", Hash, primary_key=True),
    # Hash of (question, rating): tells a repeat from a conflict.
    sa.Column("data_hash", Hash, nullable=False),
    sa.Column("received_at", Time, nullable=False),
)
sa.Index("rating_events_received", rating_events.c.received_at)

#: What is mirrored: one row per conversation and session; only while there is a mirror.
mirrors = sa.Table(
    "mirrors",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    sa.Column("conversation", Number, nullable=False),
    # Empty where the API keeps no conversation.
    sa.Column("session_id", sa.Text, nullable=False),
    # Raised by every answer.
    sa.Column("version", sa.Integer, nullable=False),
    # The oldest version whose request may still be under way.
    sa.Column("unsure_version", sa.Integer),
    # When it is sent, or until when it is leased or put off; null once the copy is whole, or was refused.
    sa.Column("due_at", Time),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    # Why the last try failed; null after a success.
    sa.Column("code", sa.Text),
    # The copy may have messages that the ledger has no more, or never had.
    sa.Column("is_partial", sa.Boolean, nullable=False),
    sa.Column("answered_at", Time, nullable=False),
    sa.Column("mirrored_at", Time),
    sa.UniqueConstraint("conversation", "session_id"),
)
_is_to_be_mirrored = mirrors.c.due_at.is_not(None)
sa.Index(
    "mirrors_due", mirrors.c.due_at, postgresql_where=_is_to_be_mirrored, sqlite_where=_is_to_be_mirrored
)
_has_failed = mirrors.c.code.is_not(None)
sa.Index("mirrors_failed", mirrors.c.number, postgresql_where=_has_failed, sqlite_where=_has_failed)
sa.Index("mirrors_answered", mirrors.c.answered_at)

#: The answered questions of each mirrored conversation.
mirror_answers = sa.Table(
    "mirror_answers",
    metadata,
    sa.Column("question", Number, primary_key=True, autoincrement=False),
    sa.Column("mirror", Number, nullable=False),
)
sa.Index("mirror_answers_mirror", mirror_answers.c.mirror, mirror_answers.c.question)

#: One row per API key: see core/gate.py.
gates = sa.Table(
    "gates",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text),
    sa.Column("closed_until", Time, nullable=False, server_default="0"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("probe", Number),
    # JSON object: bucket number to count.
    sa.Column("buckets", sa.Text, nullable=False, server_default="{}"),
    # When the next request would be due, had all of them come evenly.
    sa.Column("even_at", Time, nullable=False, server_default="0"),
    # The shares of posts and reads: how many of the one since the last of the other, and who waits how long.
    sa.Column("posts_since_read", sa.Integer, nullable=False, server_default="0"),
    sa.Column("posts_wait_until", Time, nullable=False, server_default="0"),
    sa.Column("reads_wait_until", Time, nullable=False, server_default="0"),
    # The worker that heals, and how long its place among the requests at once is kept for it.
    sa.Column("healer", sa.Text),
    sa.Column("healer_until", Time, nullable=False, server_default="0"),
    # Until when a part of the pace is kept for contacts that do not follow themselves.
    sa.Column("fresh_until", Time, nullable=False, server_default="0"),
    # The API was seen to change the text or the external_id of a question: reading back proves nothing then.
    sa.Column("is_altering", sa.Boolean, nullable=False, server_default=sa.false()),
)

#: PostgreSQL: one row per process, written by each of its transactions: by it a process finds out whether a
#: commit whose answer was lost took place.
commit_marks = sa.Table(
    "commit_marks",
    metadata,
    sa.Column("marker", sa.Text, primary_key=True),
    sa.Column("mark", sa.BigInteger, nullable=False),
    sa.Column("marked_at", Time, nullable=False),
)

#: One row per process, for people: who has been seen lately.
workers = sa.Table(
    "workers",
    metadata,
    sa.Column("worker_id", sa.Text, primary_key=True),
    sa.Column("started_at", Time, nullable=False),
    sa.Column("seen_at", Time, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
)
