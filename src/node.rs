//! The rules that adapters obey: one adapter per thing outside; each reports facts, carries out orders, decides nothing.

pub mod clock;
pub mod etcd;
pub mod ready;
