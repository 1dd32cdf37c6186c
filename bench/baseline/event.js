// What an event is: the rules of weir's ingest for the fields that this design has.

const SITE_ID = /^[A-Za-z0-9._:-]{1,128}$/;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f]/;
const VIEWS = ['page_view', 'pageview', 'view'];
const OLDEST = Date.UTC(2000, 0, 1);
const AHEAD_MAX_MS = 24 * 60 * 60 * 1000;

/** Returns `{ event }`, or `{ errors }` with every fault at once. */
export function parse(body, receivedAt) {
  if (body === null || typeof body !== 'object' || Array.isArray(body)) {
    return { errors: ['an event must be an object'] };
  }
  const errors = [];
  const { site_id, event_type, path, user_id, timestamp } = body;
  if (typeof site_id !== 'string') {
    errors.push('site_id is required and must be a string');
  } else if (!SITE_ID.test(site_id)) {
    errors.push('site_id must be 1 to 128 bytes of A-Z a-z 0-9 . _ : -');
  }
  if (typeof event_type !== 'string') {
    errors.push('event_type is required and must be a string');
  } else if (event_type === '' || Buffer.byteLength(event_type) > 64 || CONTROL.test(event_type)) {
    errors.push('event_type must be 1 to 64 bytes without control characters');
  }
  for (const [name, value, bytesMax] of [['path', path, 2048], ['user_id', user_id, 256]]) {
    if (value === undefined || value === null) continue;
    if (typeof value !== 'string') errors.push(`${name} must be a string`);
    else if (Buffer.byteLength(value) > bytesMax) errors.push(`${name} must be at most ${bytesMax} bytes`);
    // PostgreSQL's text cannot hold it.
    else if (value.includes('\0')) errors.push(`${name} must not hold a NUL`);
  }
  let at = receivedAt;
  if (timestamp !== undefined && timestamp !== null) {
    at = typeof timestamp === 'string' ? Date.parse(timestamp) : NaN;
    if (Number.isNaN(at)) errors.push('timestamp must be RFC 3339');
    else if (at < OLDEST || at > receivedAt + AHEAD_MAX_MS) errors.push('timestamp is too old or too far ahead');
    else at = Math.min(at, receivedAt);
  }
  if (errors.length > 0) return { errors };
  return {
    event: {
      site_id,
      event_type,
      path: pathOf(path, event_type),
      user_id: user_id || null,
      timestamp: new Date(at).toISOString(),
    },
  };
}

function pathOf(path, eventType) {
  if (!path) return VIEWS.includes(eventType) ? '/' : null;
  const cut = path.search(/[?#]/);
  return cut < 0 ? path : path.slice(0, cut) || '/';
}
