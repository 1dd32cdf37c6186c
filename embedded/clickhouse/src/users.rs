//! Who asks. The embedded engine knows one user only, so names, passwords and rights are checked
//! here, before a statement reaches it.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::{
    Config,
    exception::{Code, Exception},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// The service: creates, inserts, reads.
    Service,
    /// The service by GET, which changes nothing, as in ClickHouse.
    ServiceReading,
    /// An analyst: reads, within limits.
    Reader,
}

/// What a request says about itself.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

pub(crate) struct Users {
    service: (String, Option<SecretString>),
    reader: (String, Option<SecretString>),
}

impl Users {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            service: (config.user.clone(), config.password.clone()),
            reader: (config.reader.clone(), config.reader_password.clone()),
        }
    }

    /// The role of a user who knows its password. Without a name it is the service's user.
    pub(crate) fn authenticate(&self, credentials: &Credentials) -> Result<Role, Exception> {
        let name = credentials.user.as_deref().unwrap_or(&self.service.0);
        let (role, password) = if name == self.service.0 {
            (Role::Service, &self.service.1)
        } else if name == self.reader.0 {
            (Role::Reader, &self.reader.1)
        } else {
            return Err(refusal(name));
        };
        let given = credentials.password.as_deref().unwrap_or_default();
        match password {
            Some(password) if !equal(given, password.expose_secret()) => Err(refusal(name)),
            _ => Ok(role),
        }
    }
}

/// Compares digests, so that the time taken says nothing about where two passwords differ.
fn equal(given: &str, expected: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(expected)
}

/// The same words for a wrong name and a wrong password: neither can be guessed apart.
fn refusal(name: &str) -> Exception {
    Exception::new(
        Code::AuthenticationFailed,
        format_args!(
            "{name}: Authentication failed: password is incorrect, or there is no user with such name."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users::new(&Config {
            password: Some("s".into()),
            ..Config::default()
        })
    }

    fn credentials(user: Option<&str>, password: Option<&str>) -> Credentials {
        Credentials {
            user: user.map(Into::into),
            password: password.map(Into::into),
        }
    }

    #[test]
    fn a_password_is_asked_only_of_the_user_who_has_one() {
        let users = users();
        assert_eq!(
            users.authenticate(&credentials(None, Some("s"))),
            Ok(Role::Service)
        );
        assert_eq!(
            users.authenticate(&credentials(Some("analyst"), None)),
            Ok(Role::Reader)
        );
        assert!(
            users
                .authenticate(&credentials(Some("default"), Some("t")))
                .is_err()
        );
        assert!(users.authenticate(&credentials(None, None)).is_err());
        assert!(
            users
                .authenticate(&credentials(Some("root"), None))
                .is_err()
        );
    }
}
