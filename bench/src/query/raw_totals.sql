SELECT count() AS views, uniqExactIf(user_id, user_id != '') AS users
FROM events
WHERE site_id = {site_id:String}
  AND event_type IN ('page_view', 'pageview', 'view')
  AND (_agent = '' OR endsWith(_agent, '\t'))
  AND timestamp >= toDateTime64({start:String}, 3, {zone:String})
  AND timestamp < toDateTime64({end:String}, 3, {zone:String})
