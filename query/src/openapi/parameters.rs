//! What endpoints can be asked; `question` judges it.
#![expect(
    dead_code,
    reason = "descriptions: a derived parser would tell one fault at a time"
)]

use utoipa::IntoParams;

/// Which events of a site.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Common {
    /// Whose traffic: 1 to 128 bytes of `A-Z a-z 0-9 . _ : -`.
    #[param(example = "my-site", min_length = 1, max_length = 128)]
    site_id: String,
    /// One day, from 2000-01-01 to 2199-12-31; all time if no day is given.
    #[param(value_type = Option<String>, format = Date, nullable = false)]
    date: Option<String>,
    /// First day of a range, not beside `date`; open if left out.
    #[param(value_type = Option<String>, format = Date, nullable = false)]
    start_date: Option<String>,
    /// Last day of a range, included, not beside `date`; open if left out.
    #[param(value_type = Option<String>, format = Date, nullable = false)]
    end_date: Option<String>,
    /// Whose days; UTC if left out.
    #[param(example = "Europe/Berlin", nullable = false)]
    timezone: Option<String>,
    /// Count events of this type instead of views.
    #[param(max_length = 64, nullable = false)]
    event_type: Option<String>,
    /// Count this path alone; what follows `?` or `#` is cut off, as it is from events.
    #[param(max_length = 2048, nullable = false)]
    path: Option<String>,
    /// `PROPERTY:OP:VALUE`, up to 20 times; all of them hold. PROPERTY is one of those that
    /// `/stats/breakdown` names, OP is `is`, `is_not`, `contains` or `starts_with`, and VALUE is all
    /// that follows, taken literally; it may be empty. A filter on `event_type` takes the place of
    /// the view types.
    #[param(example = json!(["referrer:contains:example"]), nullable = false, style = Form, explode)]
    filter: Option<Vec<String>>,
    /// Count users one by one, from the raw rows: slower, and refused where it takes too long.
    #[param(default = false, nullable = false)]
    exact: Option<bool>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CountedBots {
    /// Whether events of bots are counted: `exclude` leaves them out, `include` counts them with those
    /// of people, `only` counts them alone. Events from before bots were labelled are of people.
    #[param(default = "exclude", example = "exclude", nullable = false)]
    bots: Option<String>,
}

/// The days to compare with.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Compared {
    /// `previous_period`, as many days right before, or `previous_year`, the same dates of the year
    /// before. Needs `date`, or `start_date` and `end_date`.
    #[param(nullable = false)]
    compare: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LimitOfTen {
    /// How many top paths.
    #[param(minimum = 1, maximum = 1000, default = 10, nullable = false)]
    limit: Option<u16>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SeriesInterval {
    /// From one point to the next: `minute`, `hour`, `day`, `week` (from Monday on) or `month`;
    /// at most 10,000 points.
    #[param(default = "day", example = "day", nullable = false)]
    interval: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct BreakdownPage {
    /// `path`, `event_type`, `referrer`, `user` or `props.KEY`; `referrer_host`, the referrer's host
    /// in lower case and without `www.`; where the visitor came from: `source`, `channel`,
    /// `utm_source`, `utm_medium`, `utm_campaign`, `utm_term`, `utm_content`; the page's `hostname`;
    /// where the visitor is: `country`, `region`, `city`, `language`; what he uses: `browser`,
    /// `browser_version`, `system`, `device`, `screen`; or `bot`, its name, for which `bots` must be
    /// `include` or `only`.
    #[param(example = "source")]
    property: String,
    /// Rows of a page.
    #[param(minimum = 1, maximum = 1000, default = 10, nullable = false)]
    limit: Option<u16>,
    /// Which page, from 1 on.
    #[param(minimum = 1, maximum = 1_000_000, default = 1, nullable = false)]
    page: Option<u32>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RealtimeSite {
    /// Whose traffic.
    #[param(example = "my-site", min_length = 1, max_length = 128)]
    site_id: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SitesPage {
    /// Sites of a page.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<u16>,
    /// Which page, from 1 on.
    #[param(minimum = 1, maximum = 1_000_000, default = 1, nullable = false)]
    page: Option<u32>,
}

/// How CSV is written.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CsvCells {
    /// In CSV, a value that a client sent stands behind an apostrophe where a spreadsheet would
    /// compute it: where it begins with `=`, `+`, `-`, `@` or a control character, be it after
    /// blanks. `true` leaves it as it is.
    #[param(default = false, nullable = false)]
    raw_cells: Option<bool>,
}
