//! The vocabulary in which an extension tells the access method what its entities are.
//!
//! An entity is recognised by the type of its key: a table with a live column of the domain
//! [`Entity::domain`] stores that entity, wherever the table stands and whatever its name.

use crate::error::CaliberError;

/// What the access method asks of the extension that it serves.
pub trait Model: Sync {
    /// All entities; the index into this slice identifies an entity within one build.
    fn entities(&self) -> &'static [Entity];

    /// Judges one user's update of an entity row from what changed in it.
    ///
    /// # Errors
    /// The rule that the update breaks, with the SQLSTATE of the rule.
    fn judge_update(&self, entity: &Entity, change: &RowChange) -> Result<Assign, CaliberError>;
}

/// One entity: the columns that its tables must have, and how its rows may change.
#[derive(Debug)]
pub struct Entity {
    /// The entity's name, `turn` for instance.
    pub name: &'static str,
    /// The name of the key's domain in the extension's schema.
    pub domain: &'static str,
    /// The name that `caliber_init` gives its table.
    pub table: &'static str,
    /// The composite type in the extension's schema that functions return.
    pub row_type: &'static str,
    /// The columns of version 1's shape, in the order of the row type; the key is the first.
    pub columns: &'static [Column],
    /// The states of its state column, in the order of the state's type; empty without one.
    pub states: &'static [State],
    /// Whether rows never change once inserted.
    pub append_only: bool,
    /// The ways into its tables that functions use; each needs an index.
    pub paths: &'static [Path],
}

impl Entity {
    /// The most columns that an entity can have: a set of them is one [`ColumnSet`], and a table's
    /// shape, which is copied with each call, is small.
    pub const MAX_COLUMNS: usize = 32;
    /// The most states that an entity's state column can have.
    pub const MAX_STATES: usize = 8;

    /// The position of the first column that changes in the given way.
    pub const fn position_of(&self, change: Change) -> Option<usize> {
        let mut i = 0;
        while i < self.columns.len() {
            if self.columns[i].change as u8 == change as u8 {
                return Some(i);
            }
            i += 1;
        }
        None
    }

    /// The position of the column with this name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// The name of the key column.
    pub fn key(&self) -> &'static str {
        self.columns[0].name
    }
}

/// A way into a table: an index that begins with these columns, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The kind of index.
    pub method: Method,
    /// Positions of the entity's columns that the index begins with.
    pub columns: &'static [usize],
    /// Those of them that the index keeps in falling order, which only a B-tree can.
    pub descending: &'static [usize],
    /// The rows that the index may be restricted to. The caller's conditions must imply it, and
    /// must be checked again on each row, since a full index serves as well.
    pub partial: Partial,
}

/// The kinds of index that functions look rows up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// B-tree: equality, ranges and order.
    Btree,
    /// GIN: the rows whose array has an element.
    Gin,
    /// pgvector's HNSW: the rows in the order of their cosine distance.
    Hnsw,
}

/// The predicate that an index may have, besides that its first column is not null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partial {
    /// None.
    Full,
    /// `column`, a boolean
    True(usize),
    /// `column IN (labels)`, an enum; with one label `column = label`
    In(usize, &'static [&'static str]),
}

impl Path {
    /// The unique index on the key.
    pub const KEY: Self = Self::btree(&[0]);

    /// A full B-tree, all columns rising.
    pub const fn btree(columns: &'static [usize]) -> Self {
        Self { method: Method::Btree, columns, descending: &[], partial: Partial::Full }
    }

    /// An index of another kind on one column.
    pub const fn on(method: Method, column: &'static [usize]) -> Self {
        Self { method, columns: column, descending: &[], partial: Partial::Full }
    }

    /// This path through an index that may be restricted to some rows.
    #[must_use]
    pub const fn restricted_to(self, partial: Partial) -> Self {
        Self { partial, ..self }
    }

    /// This path with some of its columns in falling order.
    #[must_use]
    pub const fn falling(self, descending: &'static [usize]) -> Self {
        Self { descending, ..self }
    }
}

/// One required column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: ColumnType,
    /// How an update may change it.
    pub change: Change,
}

/// The types that a required column can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// The domain of the entity's own key, over uuid.
    Key,
    /// `uuid`
    Uuid,
    /// `text`
    Text,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `boolean`
    Bool,
    /// `timestamp with time zone`
    Timestamptz,
    /// `jsonb`
    Jsonb,
    /// `real`
    Float4,
    /// `bytea`
    Bytea,
    /// `text[]`
    TextArray,
    /// `uuid[]`
    UuidArray,
    /// pgvector's `vector`, in the schema of the extension vector.
    Vector,
    /// An enum of this name in the extension's schema.
    Enum(&'static str),
}

/// How an update may change a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Change {
    /// Freely; `version` rises with it.
    Free,
    /// Never.
    Fixed,
    /// Along the arrows of [`Entity::states`]; `version` rises with it.
    State,
    /// It never falls; it changes without `version`.
    Counter,
    /// As [`Change::Counter`]; a fall means that the writer's knowledge is stale.
    Fence,
    /// Freely and without `version`.
    Touch,
    /// Freely; in a final state only to null, because what it refers to was deleted.
    Reference,
    /// From null to a value or back, never from one value to another.
    Link,
    /// Freely, in a final state too; `version` rises with it.
    Metadata,
    /// By one with each update that changes more than counters and touches; assigned by the
    /// access method.
    Version,
    /// The transaction's start time after such an update; assigned by the access method unless
    /// the writer set it.
    UpdatedAt,
}

/// One state of an entity's state column.
#[derive(Debug, Clone, Copy)]
pub struct State {
    /// The enum label; `true` or `false` where the column is a boolean.
    pub label: &'static str,
    /// The states that may follow, by label. None: the state is final.
    pub next: &'static [&'static str],
}

impl State {
    /// Whether no other state may follow.
    pub const fn is_final(&self) -> bool {
        self.next.is_empty()
    }
}

/// A set of an entity's columns, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ColumnSet(u32);

impl ColumnSet {
    /// No column.
    pub const EMPTY: Self = Self(0);

    /// The columns at these positions.
    pub const fn of(positions: &[usize]) -> Self {
        let (mut set, mut i) = (Self::EMPTY, 0);
        while i < positions.len() {
            set = set.with(positions[i]);
            i += 1;
        }
        set
    }

    /// This set and the column at `position`.
    #[must_use]
    pub const fn with(self, position: usize) -> Self {
        Self(self.0 | 1 << position)
    }

    /// Whether the column at `position` is in it.
    pub const fn contains(self, position: usize) -> bool {
        self.0 & 1 << position != 0
    }

    /// Whether it has no column.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The positions in it, rising.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let lowest = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            (lowest < u32::BITS).then_some(lowest as usize)
        })
    }
}

/// What an update changes in one row: all that a rule gets to see.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowChange {
    /// The required columns whose value differs between the old and the new row.
    pub changed: ColumnSet,
    /// Those of the changed columns whose old value is null.
    pub was_null: ColumnSet,
    /// Those of the changed columns whose new value is null.
    pub is_null: ColumnSet,
    /// Whether a column beyond the required ones differs, generated columns aside.
    pub others_changed: bool,
    /// The old and the new state, as positions in [`Entity::states`]; `None` for a value that is
    /// null or not among them.
    pub state: (Option<usize>, Option<usize>),
    /// The old and the new version, as written by the updater.
    pub version: (Option<i64>, Option<i64>),
    /// The first counter or fence that falls: its position, its old and its new value (`None` is
    /// null).
    pub fallen: Option<(usize, i64, Option<i64>)>,
}

/// The columns that the access method assigns to the new row after a rule's consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Assign {
    /// The new version, where it has to be set.
    pub version: Option<i64>,
    /// Whether `updated_at` becomes the transaction's start time.
    pub updated_at: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_set_has_what_was_put_in() {
        let last = Entity::MAX_COLUMNS - 1;
        let set = [5, 0, last, 5].into_iter().fold(ColumnSet::EMPTY, ColumnSet::with);
        assert!(set.iter().eq([0, 5, last]));
        assert!(set.contains(last) && !set.contains(1));
        assert!(ColumnSet::EMPTY.is_empty() && !set.is_empty());
    }
}
