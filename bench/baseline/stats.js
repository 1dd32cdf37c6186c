// The answer to GET /stats, counted from the rows.

const VIEWS = "event_type IN ('page_view', 'pageview', 'view')";
const DAY = "AND timestamp >= $2::date::timestamp AT TIME ZONE 'UTC' AND timestamp < ($2::date + 1)::timestamp AT TIME ZONE 'UTC'";

const totals = (day) => `
  SELECT count(*)::int AS views, count(DISTINCT user_id)::int AS users
  FROM events
  WHERE site_id = $1 AND ${VIEWS} ${day}`;

const paths = (day) => `
  SELECT path, count(*)::int AS views
  FROM events
  WHERE site_id = $1 AND ${VIEWS} ${day} AND path IS NOT NULL
  GROUP BY path
  ORDER BY views DESC, path
  LIMIT 10`;

/** Both questions at once, each on a connection of its own. `date` null: all time. */
export async function stats(pool, site, date) {
  const [day, values] = date === null ? ['', [site]] : [DAY, [site, date]];
  const [total, top] = await Promise.all([
    pool.query(totals(day), values),
    pool.query(paths(day), values),
  ]);
  return {
    site_id: site,
    date,
    total_views: total.rows[0].views,
    unique_users: total.rows[0].users,
    top_paths: top.rows,
  };
}
