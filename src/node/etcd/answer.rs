//! What etcd answers, turned into the election's words; and the two reads. Nothing here may panic, whatever comes.

use etcd_client::{GetOptions, KvClient, ResponseHeader, SortOrder, SortTarget};

use super::failure::Failure;
use crate::election::event::{Change, Entry, Header, LeaseId, ShortRead};
use crate::election::record::{self, Key};
use crate::moment::Moment;
use crate::node::clock;

/// Everything under the prefix, and when it was asked for.
pub(super) struct Picture {
    pub(super) sent_at: Moment,
    pub(super) header: Header,
    pub(super) entries: Vec<Entry>,
}

/// The head of an answer; every answer has one.
pub(super) fn header(header: Option<&ResponseHeader>) -> Result<Header, Failure> {
    let h = header.ok_or_else(|| Failure::Broken("an answer without a header".into()))?;
    Ok(Header { cluster: h.cluster_id(), term: h.raft_term(), revision: h.revision() })
}

/// All keys under the prefix start with this: the slash keeps `vipd2/...` out.
pub(super) fn range(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), b"/"].concat()
}

/// Reads everything under the prefix, linearizable.
pub(super) async fn read_all(kv: &mut KvClient, prefix: &str) -> Result<Picture, Failure> {
    let sent_at = clock::now();
    let answer = kv.get(range(prefix), Some(GetOptions::new().with_prefix())).await?;
    let entries = answer.kvs().iter().map(|kv| entry(prefix, kv)).collect();
    Ok(Picture { sent_at, header: header(answer.header())?, entries })
}

/// The read of a counted pair: how many keys there are and the newest change among them, linearizable.
/// etcd counts before it cuts to the limit, and sorts all of them.
pub(super) async fn read_short(kv: &mut KvClient, prefix: &str) -> Result<ShortRead, Failure> {
    let newest_first =
        GetOptions::new().with_prefix().with_limit(1).with_sort(SortTarget::Mod, SortOrder::Descend).with_keys_only();
    let sent_at = clock::now();
    let answer = kv.get(range(prefix), Some(newest_first)).await?;
    Ok(ShortRead {
        sent_at,
        header: header(answer.header())?,
        count: u64::try_from(answer.count()).unwrap_or(0),
        newest: answer.kvs().first().map_or(0, etcd_client::KeyValue::mod_revision),
    })
}

fn entry(prefix: &str, kv: &etcd_client::KeyValue) -> Entry {
    record::parse(prefix, kv.key(), kv.value(), kv.create_revision(), kv.mod_revision(), LeaseId(kv.lease()))
}

/// The changes of a watch's answer, each with its revision.
pub(super) fn changes(prefix: &str, events: &[etcd_client::Event]) -> Vec<(i64, Vec<Change>)> {
    group(events.iter().filter_map(etcd_client::Event::kv).map(|kv| {
        // A deletion's key-value has no create revision: etcd itself tells them apart by that. `event_type()` panics
        // on what it does not know.
        let change = match kv.create_revision() {
            0 => Change::Deleted(Key(kv.key().to_vec())),
            _ => Change::Put(entry(prefix, kv)),
        };
        (kv.mod_revision(), change)
    }))
}

/// One list for each revision. etcd puts several revisions in one answer, and never splits one.
fn group(changes: impl Iterator<Item = (i64, Change)>) -> Vec<(i64, Vec<Change>)> {
    let mut groups: Vec<(i64, Vec<Change>)> = Vec::new();
    for (revision, change) in changes {
        match groups.last_mut() {
            Some((last, group)) if *last == revision => group.push(change),
            _ => groups.push((revision, vec![change])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_one_revision_come_together_and_in_order() {
        let gone = |k: &str| Change::Deleted(Key(k.into()));
        let changes = [(7, gone("a")), (7, gone("b")), (8, gone("c")), (11, gone("d")), (11, gone("e"))];
        let want = vec![(7, vec![gone("a"), gone("b")]), (8, vec![gone("c")]), (11, vec![gone("d"), gone("e")])];
        assert_eq!(group(changes.into_iter()), want);
    }

    #[test]
    fn the_range_ends_with_a_slash() {
        assert_eq!(range("vipd"), b"vipd/");
    }
}
