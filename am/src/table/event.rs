//! What is done to rows.

use pgrx_pg_sys as pg_sys;

/// What a [`Writer`](super::writer::Writer) does to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// INSERT
    Insert,
    /// UPDATE
    Update,
    /// DELETE
    Delete,
}

impl Event {
    /// As the executor names it.
    pub(super) const fn command(self) -> pg_sys::CmdType::Type {
        match self {
            Self::Insert => pg_sys::CmdType::CMD_INSERT,
            Self::Update => pg_sys::CmdType::CMD_UPDATE,
            Self::Delete => pg_sys::CmdType::CMD_DELETE,
        }
    }

    /// Whether triggers fire before or after each statement.
    pub(super) const fn has_statement_triggers(self, triggers: &pg_sys::TriggerDesc) -> bool {
        match self {
            Self::Insert => {
                triggers.trig_insert_before_statement || triggers.trig_insert_after_statement
            }
            Self::Update => {
                triggers.trig_update_before_statement || triggers.trig_update_after_statement
            }
            Self::Delete => {
                triggers.trig_delete_before_statement || triggers.trig_delete_after_statement
            }
        }
    }

    /// The bit that a trigger on it has in its type.
    pub(super) const fn trigger_type(self) -> u32 {
        match self {
            Self::Insert => pg_sys::TRIGGER_TYPE_INSERT,
            Self::Update => pg_sys::TRIGGER_TYPE_UPDATE,
            Self::Delete => pg_sys::TRIGGER_TYPE_DELETE,
        }
    }
}
