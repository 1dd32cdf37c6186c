//! What commands find where `weir up` or `weir clickhouse` keeps its data: the address of its
//! ClickHouse, its users and their passwords. `--data-dir` comes before what is configured, and that
//! before what lies in the default place.

use std::path::Path;

use anyhow::ensure;
use embedded_clickhouse::Access;
use secrecy::ExposeSecret as _;

use crate::config::Config;

/// Puts the address of the ClickHouse below `data_dir` or, without one and where no address is
/// configured, of the one in `engine.data_dir` into `config`, with user and password unless these
/// are configured.
///
/// # Errors
/// If what is there cannot be read, or points beyond this machine; if nothing is in `data_dir`.
pub(crate) fn clickhouse(
    config: &mut Config,
    data_dir: Option<&Path>,
) -> anyhow::Result<Option<Access>> {
    let default = infra::clickhouse::Config::default();
    let is_elsewhere = config.clickhouse.url != default.url;
    if is_elsewhere && data_dir.is_none() {
        return Ok(None);
    }
    let folder = match data_dir {
        Some(folder) => folder.join("clickhouse"),
        None => config.engine().data_dir,
    };
    let Some(access) = Access::find(&folder)? else {
        ensure!(
            data_dir.is_none(),
            "no ClickHouse runs on {}: start it by `weir up --data-dir`",
            folder.display()
        );
        return Ok(None);
    };
    config.clickhouse.url = access.http.into();
    if config.clickhouse.user == default.user && config.clickhouse.password.is_none() {
        config.clickhouse.user.clone_from(&access.user);
        config.clickhouse.password = known(&access, &access.user).map(Into::into);
    }
    Ok(Some(access))
}

/// The password of `user`, as configured or as found.
pub(crate) fn password(config: &Config, access: Option<&Access>, user: &str) -> Option<String> {
    let engine = config.engine();
    let configured = if user == config.clickhouse.user {
        let password = config.clickhouse.password.as_ref();
        password.map(|password| password.expose().to_owned())
    } else if user == engine.reader {
        let password = engine.reader_password.as_ref();
        password.map(|password| password.expose_secret().to_owned())
    } else {
        None
    };
    configured.or_else(|| known(access?, user))
}

fn known(access: &Access, user: &str) -> Option<String> {
    access.passwords.get(user).cloned().flatten()
}
