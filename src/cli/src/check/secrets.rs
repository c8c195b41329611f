//! Secrets: there, readable by this user, and by no other.

use super::{Context, Finding};
use service::config::LoginError;

/// Where a password that everybody knows does no harm.
const THIS_MACHINE: [&str; 3] = ["127.0.0.1", "localhost", "::1"];
/// What stands for the broker's password where none is set.
const KNOWN_TO_ALL: &str = "changeme";

pub(super) fn look(context: &Context) -> Vec<Finding> {
    vec![broker(context), api(context)]
}

fn broker(Context { config, credentials }: &Context) -> Finding {
    let place = "the broker's password";
    match config.rabbitmq_password(credentials) {
        Ok(password)
            if password.expose() == KNOWN_TO_ALL
                && !THIS_MACHINE.contains(&config.rabbitmq.host.as_str()) =>
        {
            Finding::problem(
                place,
                format!(
                    "is the development default, and {} is another machine",
                    config.rabbitmq.host
                ),
                "give the broker's user a password of its own, and name a file with it in rabbitmq.password_file",
            )
        }
        Ok(_) => Finding::right(place, "there, and not open to other users"),
        Err(error) => Finding::problem(place, error, "without it the queue cannot log in"),
    }
}

fn api(Context { config, credentials }: &Context) -> Finding {
    let place = "the API's account";
    match config.api_login(credentials) {
        Ok(_) => Finding::right(place, "there, and not open to other users"),
        Err(LoginError::NoEmail) => Finding::note(
            place,
            "is not set: nothing can be published",
            "set api.email and api.password_file",
        ),
        Err(LoginError::Password(error)) => {
            Finding::problem(place, error, "without it nothing can be published")
        }
    }
}
