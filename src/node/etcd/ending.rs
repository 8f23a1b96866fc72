//! When a member's certificate ends: told while there is time, though no connection notices before it is made anew.

use std::time::Duration;

use tokio::time::sleep;

use super::connect::Link;
use super::pace::Told;
use super::tls::{Expiry, Urgency};
use crate::node::clock;

/// How often it is told.
const TELL: Duration = Duration::from_secs(24 * 60 * 60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// What was told of one member's certificate.
pub(super) struct Ending {
    told: Told,
    urgency: Urgency,
}

impl Ending {
    pub(super) fn new() -> Self {
        Self { told: Told::every(TELL), urgency: Urgency::None }
    }

    /// Tells when the certificate that this connection was made with ends, for ever.
    pub(super) async fn tell(&mut self, member: &str, link: Option<&Link>) {
        let Some(ends) = link.and_then(|link| link.certificate.as_ref()) else { return std::future::pending().await };
        loop {
            self.look(member, ends);
            sleep(LOOK).await;
        }
    }

    fn look(&mut self, member: &str, ends: &Expiry) {
        let (urgency, text) = ends.at(clock::calendar());
        if std::mem::replace(&mut self.urgency, urgency) != urgency {
            let _told_the_other = self.told.over();
        }
        if urgency == Urgency::None || !self.told.again() {
            return;
        }
        if urgency == Urgency::Soon {
            tracing::warn!(member, "{text}");
        } else {
            tracing::error!(member, "{text}");
        }
    }
}
