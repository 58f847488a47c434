//! The triggers of a table.

use super::relation::Rel;
use pgrx_pg_sys as pg_sys;

/// A trigger, valid as long as its table is open and no invalidation is processed.
pub struct Trigger<'r>(&'r pg_sys::Trigger);

/// Which side of a foreign key a trigger of PostgreSQL's own guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The table that refers.
    Referring,
    /// The table that is referred to.
    Referred,
}

/// The triggers of the table, whatever they are for.
pub fn of<'r>(rel: Rel<'r>) -> impl Iterator<Item = Trigger<'r>> {
    let desc = rel.data().trigdesc;
    // SAFETY: null, or valid as long as the relcache entry is.
    let (first, count) = unsafe { desc.as_ref() }
        .map_or((std::ptr::null_mut(), 0), |desc| (desc.triggers, desc.numtriggers.max(0)));
    (0..count as usize).map(move |i| {
        // SAFETY: an array with that many elements.
        let trigger = unsafe { first.add(i) };
        // SAFETY: as above.
        Trigger(unsafe { &*trigger })
    })
}

impl Trigger<'_> {
    /// Whether it fires after each row that is written by this command, one of
    /// `TRIGGER_TYPE_INSERT`, `TRIGGER_TYPE_UPDATE` and `TRIGGER_TYPE_DELETE`.
    pub fn is_after_row(&self, command: u32) -> bool {
        const BEFORE_OR_INSTEAD: u32 = pg_sys::TRIGGER_TYPE_BEFORE | pg_sys::TRIGGER_TYPE_INSTEAD;
        let is = |flags: u32| self.0.tgtype as u32 & flags != 0;
        is(pg_sys::TRIGGER_TYPE_ROW) && !is(BEFORE_OR_INSTEAD) && is(command)
    }

    /// The side of a foreign key that it guards; `None` for every other trigger.
    pub fn side(&self) -> Option<Side> {
        // SAFETY: compares the OID with those of PostgreSQL's own functions.
        let side = unsafe { pg_sys::RI_FKey_trigger_type(self.0.tgfoid) };
        match u32::try_from(side) {
            Ok(pg_sys::RI_TRIGGER_FK) => Some(Side::Referring),
            Ok(pg_sys::RI_TRIGGER_PK) => Some(Side::Referred),
            _ => None,
        }
    }

    /// The constraint that it enforces.
    pub fn constraint(&self) -> pg_sys::Oid {
        self.0.tgconstraint
    }

    /// Whether its check can be put off to the end of the transaction.
    pub fn is_deferrable(&self) -> bool {
        self.0.tgdeferrable
    }
}
