"""What the OpenAPI page cannot say: which times are taken, and that NDJSON is an event a line."""

import datetime
import json

import schemathesis
from hypothesis import strategies as st


def rfc_3339(time):
    return time.isoformat() + "Z"


def ndjson(batch):
    return "\n".join(json.dumps(event) for event in batch).encode()


times = st.datetimes(
    min_value=datetime.datetime(2000, 1, 1), max_value=datetime.datetime(2025, 1, 1)
)
schemathesis.openapi.format("date-time", times.map(rfc_3339))

events = st.fixed_dictionaries(
    {
        "site_id": st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True),
        "event_type": st.sampled_from(["page_view", "click"]),
    }
)
batches = st.lists(events, min_size=1, max_size=5)
schemathesis.openapi.media_type("application/x-ndjson", batches.map(ndjson))


@schemathesis.serializer("application/x-ndjson")
def text(context, value):
    return value if isinstance(value, bytes) else str(value).encode()
