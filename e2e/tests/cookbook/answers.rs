//! What every query must answer, counted from the events themselves, without SQL.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Timelike, Utc};

use crate::data::{Event, FROM, REFERRERS, SITE, SOURCES, TO};

/// The parameters that the queries are asked with.
pub(crate) fn parameters() -> Vec<(&'static str, String)> {
    vec![
        ("site", SITE.into()),
        ("from", FROM.to_string()),
        ("to", TO.to_string()),
        ("zone", "Europe/Berlin".into()),
        ("page", "/pricing".into()),
        ("second", "signup".into()),
        ("third", "purchase".into()),
        ("goal", "signup".into()),
        ("host", "shop.example".into()),
        ("key", "plan".into()),
        ("type", "signup".into()),
        ("least", "20".into()),
    ]
}

/// The answer to the query under this heading, a line a row, tabs between the columns. None: the
/// answer is judged in another way.
pub(crate) fn answer(title: &str, events: &[Event]) -> Option<Vec<String>> {
    let all = events.iter().filter(|event| event.site == SITE);
    let site: Vec<&Event> = all.clone().filter(|event| event.bot() == "").collect();
    let ranged: Vec<&Event> = site.iter().copied().filter(|e| e.is_in_range()).collect();
    Some(match title {
        "Views and visitors of a range" => views_and_visitors(&ranged),
        "Users over any range, in any time zone" => users_by_type(&site),
        "Week over week" => weeks(&ranged),
        "Hours of the week" => hours(&site),
        "Stickiness" => stickiness(&site),
        "New and returning" => new_and_returning(&site),
        "Retention by weekly cohorts" => retention(&site),
        "Funnel" => funnel(&ranged),
        "Path to conversion" => ways(&ranged),
        "Time to convert" => time_to_convert(&ranged),
        "Sessions" => sessions_by_day(&site),
        "Entry and exit pages" => entries_and_exits(&site),
        "Top referrers" => referrers(&ranged),
        "Breakdown by a property" => breakdown(&ranged),
        "Pages that grow most slowly" => slow_pages(&site),
        "Broken links" => broken_links(&ranged),
        "Top pages by month" => months(&site),
        "Late events" => late(&site),
        "What is missing" => missing(&ranged),
        "Channels" => by(&ranged, |event| channel(event).to_vec(), false),
        "Devices" => by(&ranged, |event| event.device().to_vec(), true),
        "Countries" => by(&ranged, |event| vec![event.country()], false),
        "Bots" => bots(&all.filter(|event| event.is_in_range()).collect::<Vec<_>>()),
        "The last thirty minutes" | "Proof of what was stored" => return None,
        other => panic!("the cookbook has a query that nobody knows the answer to: {other}"),
    })
}

fn views_and_visitors(ranged: &[&Event]) -> Vec<String> {
    let views = ranged.iter().filter(|event| event.is_view());
    let visitors = distinct(views.clone().copied());
    vec![row(&[&views.count(), &visitors])]
}

fn users_by_type(site: &[&Event]) -> Vec<String> {
    let local = site
        .iter()
        .filter(|event| (FROM..=TO).contains(&event.in_berlin().0));
    let mut rows: Vec<_> = grouped(local.copied(), |event| event.kind)
        .into_iter()
        .map(|(kind, events)| (kind, events.len(), distinct(events)))
        .collect();
    rows.sort_by_key(|(kind, events, _)| (Reverse(*events), *kind));
    rows.iter().map(|(k, e, u)| row(&[k, e, u])).collect()
}

fn weeks(ranged: &[&Event]) -> Vec<String> {
    let views = ranged.iter().copied().filter(|event| event.is_view());
    let mut before: Option<usize> = None;
    let mut rows = Vec::new();
    for (week, events) in grouped(views, |event| monday(event.date())) {
        let views = events.len();
        let change = before.map(|before| round(100.0 * (ratio(views, before) - 1.0), 1));
        rows.push(row(&[
            &week,
            &views,
            &distinct(events),
            &null(before),
            &null(change),
        ]));
        before = Some(views);
    }
    rows
}

fn hours(site: &[&Event]) -> Vec<String> {
    let local = site
        .iter()
        .copied()
        .filter(|event| event.is_view() && (FROM..=TO).contains(&event.in_berlin().0));
    grouped(local, |event| (event.in_berlin().1, event.in_berlin().2))
        .into_iter()
        .map(|((weekday, hour), events)| row(&[&weekday, &hour, &events.len()]))
        .collect()
}

fn stickiness(site: &[&Event]) -> Vec<String> {
    let views: Vec<&Event> = site
        .iter()
        .copied()
        .filter(|event| event.is_view())
        .collect();
    days()
        .map(|day| {
            let on = |first: NaiveDate| {
                let seen = views.iter().filter(|e| (first..=day).contains(&e.date()));
                distinct(seen.copied())
            };
            let (dau, mau) = (on(day), on(day - Days::new(29)));
            row(&[&day, &dau, &mau, &round(ratio(dau, mau), 3)])
        })
        .collect()
}

fn new_and_returning(site: &[&Event]) -> Vec<String> {
    let dates = dates_by_user(site, |date| date);
    days()
        .filter_map(|day| {
            let here = || dates.values().filter(|dates| dates.contains(&day));
            let users = here().count();
            let new = here().filter(|dates| dates.first() == Some(&day)).count();
            (users > 0).then(|| row(&[&day, &users, &new, &(users - new)]))
        })
        .collect()
}

fn retention(site: &[&Event]) -> Vec<String> {
    let mut cohorts: BTreeMap<(NaiveDate, i64), usize> = BTreeMap::new();
    for weeks in dates_by_user(site, monday).values() {
        let cohort = *weeks.first().unwrap();
        for week in weeks.iter().filter(|_| (FROM..=TO).contains(&cohort)) {
            *cohorts
                .entry((cohort, (*week - cohort).num_weeks()))
                .or_default() += 1;
        }
    }
    cohorts
        .iter()
        .map(|((cohort, later), users)| {
            let share = round(100.0 * *users as f64 / cohorts[&(*cohort, 0)] as f64, 1);
            row(&[cohort, later, users, &share])
        })
        .collect()
}

fn funnel(ranged: &[&Event]) -> Vec<String> {
    let window = TimeDelta::days(1);
    let steps: [&dyn Fn(&Event) -> bool; 3] = [
        &|event| event.is_view() && event.path == "/pricing",
        &|event| event.kind == "signup",
        &|event| event.kind == "purchase",
    ];
    let mut users = [0_usize; 3];
    for events in by_user(ranged).values() {
        let mut reached = 0;
        for (index, start) in events.iter().enumerate().filter(|(_, e)| steps[0](e)) {
            // Each step at its earliest, which leaves the most time for the next.
            let mut step = 1;
            for event in &events[index + 1..] {
                if step < 3 && event.at - start.at <= window && steps[step](event) {
                    step += 1;
                }
            }
            reached = reached.max(step);
        }
        users.iter_mut().take(reached).for_each(|count| *count += 1);
    }
    ["saw /pricing", "signup", "purchase"]
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let share = round(100.0 * users[index] as f64 / users[0] as f64, 1);
            row(&[&(index + 1), name, &users[index], &share])
        })
        .collect()
}

fn ways(ranged: &[&Event]) -> Vec<String> {
    let mut ways: HashMap<String, usize> = HashMap::new();
    for events in by_user(ranged).values() {
        let Some(converted) = events.iter().find(|event| event.kind == "signup") else {
            continue;
        };
        let mut pages: Vec<&str> = events
            .iter()
            .filter(|event| event.is_view() && event.at < converted.at)
            .map(|event| event.path)
            .collect();
        pages.dedup();
        if !pages.is_empty() {
            let way = pages[pages.len().saturating_sub(5)..].join(" > ");
            *ways.entry(way).or_default() += 1;
        }
    }
    top(ways, 10)
}

fn time_to_convert(ranged: &[&Event]) -> Vec<String> {
    let mut minutes: Vec<f64> = by_user(ranged)
        .values()
        .filter_map(|events| {
            let converted = events.iter().find(|event| event.kind == "signup")?;
            Some((converted.at - events[0].at).num_milliseconds() as f64 / 60_000.0)
        })
        .collect();
    minutes.sort_by(f64::total_cmp);
    let median = round(quantile(&minutes, 0.5), 1);
    vec![row(&[
        &minutes.len(),
        &median,
        &round(quantile(&minutes, 0.9), 1),
    ])]
}

/// A user's events with no gap over thirty minutes.
struct Session<'e>(Vec<&'e Event>);

impl Session<'_> {
    fn views(&self) -> impl DoubleEndedIterator<Item = &&Event> {
        self.0.iter().filter(|event| event.is_view())
    }

    fn is_bounce(&self) -> bool {
        self.views().count() == 1
    }

    /// Boundaries between seconds, as ClickHouse counts them.
    fn seconds(&self) -> i64 {
        self.0[self.0.len() - 1].at.timestamp() - self.0[0].at.timestamp()
    }
}

/// Those that started within the range.
fn sessions<'e>(site: &[&'e Event]) -> Vec<Session<'e>> {
    let mut sessions: Vec<Session<'e>> = Vec::new();
    for events in by_user(site).into_values() {
        for (index, event) in events.iter().enumerate() {
            let gap = index
                .checked_sub(1)
                .map(|before| event.at - events[before].at);
            match sessions.last_mut() {
                Some(session) if gap.is_some_and(|gap| gap <= TimeDelta::minutes(30)) => {
                    session.0.push(event);
                }
                _ => sessions.push(Session(vec![event])),
            }
        }
    }
    sessions.retain(|session| session.0[0].is_in_range());
    sessions
}

fn sessions_by_day(site: &[&Event]) -> Vec<String> {
    let mut days: BTreeMap<NaiveDate, Vec<Session<'_>>> = BTreeMap::new();
    for session in sessions(site) {
        days.entry(session.0[0].date()).or_default().push(session);
    }
    days.iter()
        .map(|(day, sessions)| {
            let count = sessions.len();
            let mut seconds: Vec<i64> = sessions.iter().map(Session::seconds).collect();
            seconds.sort_unstable();
            let mean = round(seconds.iter().sum::<i64>() as f64 / count as f64, 1);
            let views: usize = sessions.iter().map(|session| session.views().count()).sum();
            let bounces = sessions
                .iter()
                .filter(|session| session.is_bounce())
                .count();
            let viewed = sessions
                .iter()
                .filter(|s| s.views().next().is_some())
                .count();
            let bounced = round(100.0 * bounces as f64 / viewed as f64, 1);
            let each = round(ratio(views, count), 2);
            row(&[
                day,
                &count,
                &mean,
                &quantile(&seconds, 0.5),
                &each,
                &bounced,
            ])
        })
        .collect()
}

fn entries_and_exits(site: &[&Event]) -> Vec<String> {
    let mut pages: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for session in &sessions(site) {
        let (Some(entry), Some(exit)) = (session.views().next(), session.views().next_back())
        else {
            continue;
        };
        pages.entry(entry.path).or_default()[0] += 1;
        pages.entry(exit.path).or_default()[1] += 1;
        pages.entry(entry.path).or_default()[2] += usize::from(session.is_bounce());
    }
    let mut rows: Vec<_> = pages.into_iter().collect();
    rows.sort_by_key(|(page, counts)| (Reverse(counts[0]), *page));
    rows.iter()
        .map(|(page, [entries, exits, bounces])| row(&[page, entries, exits, bounces]))
        .collect()
}

fn referrers(ranged: &[&Event]) -> Vec<String> {
    let host = |event: &Event| {
        let (_, host) = REFERRERS
            .iter()
            .find(|(url, _)| *url == event.referrer)
            .unwrap();
        *host
    };
    let views = ranged
        .iter()
        .copied()
        .filter(|event| event.is_view() && host(event) != "shop.example");
    counted(grouped(views, host), 10)
}

fn breakdown(ranged: &[&Event]) -> Vec<String> {
    let signups = ranged
        .iter()
        .copied()
        .filter(|event| event.kind == "signup");
    counted(grouped(signups, |event| event.plan.unwrap_or_default()), 20)
}

fn slow_pages(site: &[&Event]) -> Vec<String> {
    let before = FROM - Days::new((TO - FROM).num_days() as u64 + 1);
    let views = site
        .iter()
        .copied()
        .filter(|event| event.is_view() && (before..=TO).contains(&event.date()));
    let mut rows: Vec<_> = grouped(views, |event| event.path)
        .into_iter()
        .filter(|(_, events)| events.len() >= 20)
        .map(|(path, events)| {
            let views = events.iter().filter(|event| event.date() >= FROM).count();
            let before = events.len() - views;
            let growth = (before > 0).then(|| round(100.0 * (ratio(views, before) - 1.0), 1));
            (path, views, before, growth)
        })
        .collect();
    rows.sort_by(|one, two| {
        let key = |growth: Option<f64>| growth.unwrap_or(f64::INFINITY);
        key(one.3).total_cmp(&key(two.3)).then(one.0.cmp(two.0))
    });
    rows.truncate(10);
    rows.iter()
        .map(|(path, views, before, growth)| row(&[path, views, before, &null(*growth)]))
        .collect()
}

fn broken_links(ranged: &[&Event]) -> Vec<String> {
    let met = ranged
        .iter()
        .copied()
        .filter(|event| event.kind == "not_found" || event.status == Some(404));
    let mut rows: Vec<_> = grouped(met, |event| (event.path, event.referrer))
        .into_iter()
        .collect();
    rows.sort_by_key(|(link, events)| (Reverse(events.len()), *link));
    rows.iter()
        .map(|((path, referrer), events)| {
            let last = events.iter().map(|event| event.at).max().unwrap();
            let last = last.format("%Y-%m-%d %H:%M:%S%.3f");
            row(&[path, referrer, &events.len(), &last])
        })
        .collect()
}

fn months(site: &[&Event]) -> Vec<String> {
    let month = |event: &Event| event.date().with_day(1).unwrap();
    let first = FROM.with_day(1).unwrap();
    let views = site
        .iter()
        .copied()
        .filter(|event| event.is_view() && (first..=TO).contains(&month(event)));
    let mut rows = Vec::new();
    for (month, events) in grouped(views, month) {
        let paths = grouped(events, |event| event.path);
        let mut paths: Vec<_> = paths
            .into_iter()
            .map(|(path, e)| (Reverse(e.len()), path))
            .collect();
        paths.sort();
        let top = paths.iter().take(3);
        rows.extend(top.map(|(views, path)| row(&[&month, path, &views.0])));
    }
    rows
}

fn late(site: &[&Event]) -> Vec<String> {
    let now = Utc::now();
    let ranged = site.iter().copied().filter(|event| event.date() >= FROM);
    let arrived = grouped(ranged, |event| match now - event.at {
        lag if lag < TimeDelta::hours(1) => (0, "within an hour"),
        lag if lag < TimeDelta::days(1) => (1, "within a day"),
        _ => (2, "later"),
    });
    let all: usize = arrived.values().map(Vec::len).sum();
    arrived
        .iter()
        .map(|((_, name), events)| {
            let share = round(100.0 * events.len() as f64 / all as f64, 1);
            row(&[name, &events.len(), &share])
        })
        .collect()
}

fn missing(ranged: &[&Event]) -> Vec<String> {
    let mut rows: Vec<_> = grouped(ranged.iter().copied(), |event| event.kind)
        .into_iter()
        .collect();
    rows.sort_by_key(|(kind, events)| (Reverse(events.len()), *kind));
    rows.iter()
        .map(|(kind, events)| {
            let share = |is: &dyn Fn(&&&Event) -> bool| {
                let count = events.iter().filter(is).count();
                round(100.0 * count as f64 / events.len() as f64, 1)
            };
            row(&[
                kind,
                &events.len(),
                &share(&|event| event.user.is_empty()),
                &share(&|event| event.path.is_empty()),
                &share(&|event| event.referrer.is_empty()),
                &share(&|event| event.id.is_some()),
            ])
        })
        .collect()
}

/// Views and users of every minute that had any since `first`.
pub(crate) fn minutes(events: &[Event], first: DateTime<Utc>) -> Vec<String> {
    let views = events
        .iter()
        .filter(|event| event.site == SITE && event.is_view() && event.at >= first);
    let minute = |event: &Event| event.at.with_second(0).unwrap().with_nanosecond(0).unwrap();
    grouped(views, minute)
        .into_iter()
        .map(|(minute, events)| {
            let minute = minute.format("%Y-%m-%d %H:%M:%S");
            row(&[&minute, &events.len(), &distinct(events)])
        })
        .collect()
}

fn grouped<'e, K: Ord>(
    events: impl IntoIterator<Item = &'e Event>,
    key: impl Fn(&'e Event) -> K,
) -> BTreeMap<K, Vec<&'e Event>> {
    let mut groups: BTreeMap<K, Vec<&Event>> = BTreeMap::new();
    for event in events {
        groups.entry(key(event)).or_default().push(event);
    }
    groups
}

/// Every user's events in their order. Nobody's are left out.
fn by_user<'e>(events: &[&'e Event]) -> BTreeMap<&'e str, Vec<&'e Event>> {
    let known = events
        .iter()
        .copied()
        .filter(|event| !event.user.is_empty());
    let mut users = grouped(known, |event| event.user.as_str());
    for events in users.values_mut() {
        events.sort_by_key(|event| event.at);
    }
    users
}

/// The days, or what `of` makes of them, that saw each user up to the end of the range.
fn dates_by_user<'e>(
    site: &[&'e Event],
    of: impl Fn(NaiveDate) -> NaiveDate,
) -> BTreeMap<&'e str, BTreeSet<NaiveDate>> {
    let mut users: BTreeMap<&str, BTreeSet<NaiveDate>> = BTreeMap::new();
    for (user, events) in by_user(site) {
        let dates = events.iter().map(|event| event.date());
        let dates: BTreeSet<_> = dates.filter(|date| *date <= TO).map(&of).collect();
        if !dates.is_empty() {
            users.insert(user, dates);
        }
    }
    users
}

fn channel(event: &Event) -> [&'static str; 2] {
    let mut known = REFERRERS.iter().zip(SOURCES);
    let found = known.find(|((referrer, _), _)| *referrer == event.referrer);
    found.map_or([""; 2], |(_, (channel, source))| [channel, source])
}

/// Views and visitors by values, the most views first; with the share of all views, if it is asked
/// for.
fn by(ranged: &[&Event], values: fn(&Event) -> Vec<&'static str>, share: bool) -> Vec<String> {
    let views: Vec<&Event> = ranged.iter().copied().filter(|e| e.is_view()).collect();
    let mut rows: Vec<_> = grouped(views.iter().copied(), values)
        .into_iter()
        .map(|(values, events)| (Reverse(events.len()), values, distinct(events)))
        .collect();
    rows.sort();
    let line = |(count, values, visitors): &(Reverse<usize>, Vec<&str>, usize)| {
        let counts = row(&[&values.join("\t"), &count.0, visitors]);
        let pct = round(100.0 * ratio(count.0, views.len()), 1);
        if share { row(&[&counts, &pct]) } else { counts }
    };
    rows.iter().map(line).collect()
}

/// Views by bot, their share, and the path with most of them.
fn bots(ranged: &[&Event]) -> Vec<String> {
    let views: Vec<&Event> = ranged.iter().copied().filter(|e| e.is_view()).collect();
    let mut rows = Vec::new();
    for (bot, events) in grouped(views.iter().copied(), Event::bot) {
        let count = events.len();
        let paths = grouped(events, |event| event.path);
        let top = paths.into_iter().max_by_key(|(_, events)| events.len());
        let pct = round(100.0 * ratio(count, views.len()), 1);
        rows.push((Reverse(count), bot, pct, top.map_or("", |(path, _)| path)));
    }
    rows.sort_by_key(|(count, bot, ..)| (*count, *bot));
    let line = |(count, bot, pct, top): &(Reverse<usize>, &str, f64, &str)| {
        row(&[bot, &count.0, pct, top])
    };
    rows.iter().map(line).collect()
}

/// Rows of a name, its events and their users, the largest first.
fn counted(groups: BTreeMap<&str, Vec<&Event>>, limit: usize) -> Vec<String> {
    let mut rows: Vec<_> = groups
        .into_iter()
        .map(|(name, events)| (Reverse(events.len()), name, distinct(events)))
        .collect();
    rows.sort();
    rows.truncate(limit);
    rows.iter()
        .map(|(e, name, users)| row(&[name, &e.0, users]))
        .collect()
}

fn top(counts: HashMap<String, usize>, limit: usize) -> Vec<String> {
    let mut rows: Vec<_> = counts
        .into_iter()
        .map(|(name, n)| (Reverse(n), name))
        .collect();
    rows.sort();
    rows.truncate(limit);
    rows.iter().map(|(n, name)| row(&[name, &n.0])).collect()
}

fn distinct<'e>(events: impl IntoIterator<Item = &'e Event>) -> usize {
    let users = events.into_iter().map(|event| event.user.as_str());
    users
        .filter(|user| !user.is_empty())
        .collect::<BTreeSet<_>>()
        .len()
}

fn days() -> impl Iterator<Item = NaiveDate> {
    FROM.iter_days().take_while(|day| *day <= TO)
}

fn monday(date: NaiveDate) -> NaiveDate {
    date - Days::new(u64::from(date.weekday().num_days_from_monday()))
}

/// The value at the place of the level, as `quantileExact` picks it.
fn quantile<T: Copy>(sorted: &[T], level: f64) -> T {
    let place = (level * sorted.len() as f64) as usize;
    sorted[place.min(sorted.len() - 1)]
}

fn ratio(one: usize, other: usize) -> f64 {
    one as f64 / other as f64
}

/// To so many digits, halves to even, as ClickHouse rounds.
fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round_ties_even() / scale
}

fn null<T: ToString>(value: Option<T>) -> String {
    value.map_or("\\N".to_owned(), |value| value.to_string())
}

fn row(columns: &[&dyn std::fmt::Display]) -> String {
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    columns.join("\t")
}
