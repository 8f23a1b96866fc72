//! Another config for the members: new ones are connected to, the others go when one that is wanted is up.
//!
//! What is wanted before and after is not touched: its connection stands, and the session with it. Who goes is asked on
//! until somebody who stays answers, so that a mistyped endpoint costs nothing.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::line::Line;
use super::members::{Members, shows_password};
use super::roster::Reach;
use crate::config;

impl Members {
    /// Follows another config. The prefix stays.
    pub(super) fn follow(&self, config: &config::Etcd) {
        let reach = Reach { tls: config.tls.is_some(), vips: config.vips.clone() };
        let discover = config.discover && !shows_password(config);
        self.credentials.follow(config);
        for (_, line) in self.lines() {
            let named = config.endpoints.contains(&line.url);
            let found = !line.is_configured() && discover && reach.usable(&line.url).is_ok();
            line.want(named || found);
        }
        let places: Vec<_> = config.endpoints.iter().filter_map(|url| self.name(url)).collect();
        *self.reach.write().unwrap_or_else(PoisonError::into_inner) = reach;
        self.discover.store(discover, Relaxed);
        if let Some(home) = places.first() {
            self.set_home(*home);
        }
        self.wake();
    }

    /// The operator names this one; its place.
    fn name(&self, url: &str) -> Option<usize> {
        let known = self.lines().into_iter().find(|(_, line)| line.url == url);
        if let Some((place, line)) = known {
            line.configure();
            return Some(place);
        }
        let place = self.put(Line::configured(url, self.news_teller()));
        match place {
            Some(place) => self.unkept.lock().unwrap_or_else(PoisonError::into_inner).push(self.line(place)),
            None => tracing::error!(member = url, "an endpoint too many: it is not used before a restart"),
        }
        place
    }

    /// Those that nobody keeps up yet.
    pub(super) fn take_unkept(&self) -> Vec<Arc<Line>> {
        std::mem::take(&mut *self.unkept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets those go that are not wanted any more, if somebody who stays is up.
    pub(super) fn retire_unwanted(&self) {
        let lines = self.lines();
        if !lines.iter().any(|(_, line)| line.is_wanted() && line.is_up()) {
            return;
        }
        for (place, line) in lines.iter().filter(|(_, line)| !line.is_wanted()) {
            tracing::info!(member = %line.url, "not asked any more: the config does not name it now");
            self.retire(*place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Who;
    use super::*;

    fn config(endpoints: &[&str]) -> config::Etcd {
        config::Etcd { endpoints: endpoints.iter().map(|&e| e.into()).collect(), ..config::Etcd::default() }
    }

    fn urls(members: &Members) -> Vec<String> {
        members.lines().into_iter().map(|(_, line)| line.url.clone()).collect()
    }

    #[test]
    fn who_goes_is_asked_until_somebody_who_stays_is_up() {
        let members = Members::new(&config(&["http://10.0.0.1:1", "http://10.0.0.2:1"]));
        let kept = members.line(1);
        members.follow(&config(&["http://10.0.0.3:1", "http://10.0.0.2:1"]));
        assert_eq!(urls(&members), ["http://10.0.0.1:1", "http://10.0.0.2:1", "http://10.0.0.3:1"]);
        assert!(Arc::ptr_eq(&members.line(1), &kept), "who stays is not touched");
        assert_eq!(members.home(), 2);
        assert_eq!(members.take_unkept().len(), 1);
        members.retire_unwanted();
        assert_eq!(members.count(), 3, "nobody is up");
        // The old config again, before anybody went.
        members.follow(&config(&["http://10.0.0.1:1", "http://10.0.0.2:1"]));
        let wanted: Vec<_> = members.lines().iter().map(|(_, line)| line.is_wanted()).collect();
        assert_eq!((wanted, members.home()), (vec![true, true, false], 0));
    }

    #[test]
    fn who_was_found_stays_while_members_are_looked_for_and_it_can_be_reached() {
        let members = Members::new(&config(&["http://10.0.0.1:1"]));
        members.add("http://10.0.0.2:1", Who { cluster: 1, member: 2 });
        members.add("http://10.0.0.3:1", Who { cluster: 1, member: 3 });
        let wanted = || members.lines().iter().map(|(_, line)| line.is_wanted()).collect::<Vec<_>>();
        let vips = vec!["10.0.0.3".parse().unwrap()];
        members.follow(&config::Etcd { vips, ..config(&["http://10.0.0.1:1"]) });
        assert_eq!(wanted(), [true, true, false], "a VIP is no way to etcd");
        members.follow(&config::Etcd { discover: false, ..config(&["http://10.0.0.1:1", "http://10.0.0.3:1"]) });
        assert_eq!(wanted(), [true, false, true], "named now");
        assert!(members.line(2).is_configured());
    }
}
