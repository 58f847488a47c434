//! The entities: what their tables look like, how their rows may change, and the ways in which
//! functions look them up.
//!
//! Each entity has a file of its own with one definition, `ENTITY`, the positions of its columns,
//! `column`, and its paths, `path`.

use caliber_am::model::Entity;

pub mod agent;
pub mod artifact;
pub mod conflict;
pub mod delegation;
pub mod handoff;
pub mod lock;
pub mod message;
pub mod note;
pub mod scope;
pub mod trajectory;
pub mod turn;

/// All entities, in the order of the documentation. One static, so that an entity has one address.
pub static ENTITIES: [Entity; 11] = [
    trajectory::ENTITY,
    scope::ENTITY,
    turn::ENTITY,
    artifact::ENTITY,
    note::ENTITY,
    agent::ENTITY,
    lock::ENTITY,
    message::ENTITY,
    delegation::ENTITY,
    handoff::ENTITY,
    conflict::ENTITY,
];

/// A task.
pub static TRAJECTORY: &Entity = &ENTITIES[0];
/// A context window with a token budget.
pub static SCOPE: &Entity = &ENTITIES[1];
/// One message of a conversation.
pub static TURN: &Entity = &ENTITIES[2];
/// A typed output.
pub static ARTIFACT: &Entity = &ENTITIES[3];
/// Knowledge across trajectories.
pub static NOTE: &Entity = &ENTITIES[4];
/// Who works here.
pub static AGENT: &Entity = &ENTITIES[5];
/// A lease with a fencing token.
pub static LOCK: &Entity = &ENTITIES[6];
/// A message from agent to agent.
pub static MESSAGE: &Entity = &ENTITIES[7];
/// A sub-task.
pub static DELEGATION: &Entity = &ENTITIES[8];
/// A whole task that changes hands.
pub static HANDOFF: &Entity = &ENTITIES[9];
/// Two items that disagree.
pub static CONFLICT: &Entity = &ENTITIES[10];

/// Defines an entity: `ENTITY`, and from the same lines the modules `column` (the positions of the
/// columns in the definition and in the row type) and `path` (the indexes that functions need).
/// What is called after the entity follows from its name.
macro_rules! entity {
    (
        $name:literal $($append_only:ident)?;
        columns { $($position:ident = $column:literal: $ty:expr, $change:ident;)+ }
        paths { $($(#[$doc:meta])+ $path:ident = $look_up:expr;)+ }
        $(states { $($label:literal => [$($next:literal),*];)+ })?
    ) => {
        const COLUMNS: &[caliber_am::model::Column] = {
            use caliber_am::model::{Change, Column, ColumnType::*};
            &[$(Column { name: $column, ty: $ty, change: Change::$change }),+]
        };

        /// The definition.
        pub const ENTITY: caliber_am::model::Entity = caliber_am::model::Entity {
            name: $name,
            domain: concat!("caliber_", $name, "_id"),
            table: concat!("caliber_", $name),
            row_type: concat!("caliber_", $name, "_row"),
            columns: COLUMNS,
            states: &[$($(caliber_am::model::State { label: $label, next: &[$($next),*] }),+)?],
            append_only: $crate::entity::is_given!($($append_only)?),
            paths: &[caliber_am::model::Path::KEY, $(path::$path),+],
        };

        /// The positions of the columns in the entity's definition and in its row type.
        pub mod column {
            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            enum Position { $($position),+ }

            $(
                #[doc = concat!("The position of `", $column, "`.")]
                pub const $position: usize = Position::$position as usize;
            )+

            #[cfg(test)]
            pub(in crate::entity) const ALL: &[(&str, usize)] =
                &[$((stringify!($position), $position)),+];
        }

        /// The ways into the entity's tables that functions use, besides its key.
        pub mod path {
            #[allow(unused_imports)] // not every entity needs each of them
            use caliber_am::model::{Method, Partial, Path};
            #[allow(clippy::wildcard_imports)]
            use super::column::*;

            $($(#[$doc])+ pub const $path: Path = $look_up;)+
        }
    };
}
use entity;

/// Whether a word is there.
macro_rules! is_given {
    () => {
        false
    };
    ($word:ident) => {
        true
    };
}
use is_given;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use caliber_am::model::{Change, ColumnType};
    use std::collections::HashSet;

    const POSITIONS: &[&[(&str, usize)]] = &[
        trajectory::column::ALL,
        scope::column::ALL,
        turn::column::ALL,
        artifact::column::ALL,
        note::column::ALL,
        agent::column::ALL,
        lock::column::ALL,
        message::column::ALL,
        delegation::column::ALL,
        handoff::column::ALL,
        conflict::column::ALL,
    ];

    fn count(entity: &Entity, change: Change) -> usize {
        entity.columns.iter().filter(|c| c.change == change).count()
    }

    #[test]
    fn names_follow_from_the_entity() {
        for entity in &ENTITIES {
            assert_eq!(entity.domain, format!("caliber_{}_id", entity.name));
            assert_eq!(entity.table, format!("caliber_{}", entity.name));
            assert_eq!(entity.row_type, format!("caliber_{}_row", entity.name));
            assert_eq!(entity.key(), format!("{}_id", entity.name));
        }
        let names: HashSet<_> = ENTITIES.iter().map(|e| e.name).collect();
        assert_eq!(names.len(), ENTITIES.len());
        let constants = [
            TRAJECTORY, SCOPE, TURN, ARTIFACT, NOTE, AGENT, LOCK, MESSAGE, DELEGATION, HANDOFF,
            CONFLICT,
        ];
        assert!(constants.iter().zip(&ENTITIES).all(|(a, b)| std::ptr::eq(*a, b)));
    }

    #[test]
    fn positions_are_those_of_the_columns() {
        assert_eq!(POSITIONS.len(), ENTITIES.len());
        for (entity, positions) in ENTITIES.iter().zip(POSITIONS) {
            assert_eq!(positions.len(), entity.columns.len());
            for &(constant, position) in *positions {
                assert_eq!(entity.columns[position].name, constant.to_lowercase());
                assert_eq!(entity.column(entity.columns[position].name), Some(position));
            }
        }
    }

    #[test]
    fn the_key_comes_first_and_is_fixed() {
        for entity in &ENTITIES {
            assert!(entity.columns.len() <= Entity::MAX_COLUMNS);
            assert_eq!(entity.columns[0].ty, ColumnType::Key);
            assert_eq!(entity.columns[0].change, Change::Fixed);
            assert_eq!(entity.columns.iter().filter(|c| c.ty == ColumnType::Key).count(), 1);
        }
    }

    #[test]
    fn mutable_entities_have_the_shared_columns() {
        for entity in &ENTITIES {
            let expected = usize::from(!entity.append_only);
            assert_eq!(count(entity, Change::Version), expected, "{}", entity.name);
            assert_eq!(count(entity, Change::UpdatedAt), expected, "{}", entity.name);
            let column = |name: &str| entity.column(name).map(|i| entity.columns[i]);
            assert_eq!(column("created_at").unwrap().change, Change::Fixed);
            assert_eq!(column("metadata").unwrap().ty, ColumnType::Jsonb);
            if !entity.append_only {
                assert_eq!(column("metadata").unwrap().change, Change::Metadata);
                assert_eq!(column("version").unwrap().change, Change::Version);
                assert_eq!(column("updated_at").unwrap().change, Change::UpdatedAt);
            }
        }
    }

    #[test]
    fn the_types_fit_how_the_columns_change() {
        for entity in &ENTITIES {
            for column in entity.columns {
                let ty = column.ty;
                let fits = match column.change {
                    Change::Version | Change::Fence => ty == ColumnType::Int8,
                    Change::UpdatedAt => ty == ColumnType::Timestamptz,
                    Change::Metadata => ty == ColumnType::Jsonb,
                    Change::Counter => matches!(ty, ColumnType::Int4 | ColumnType::Int8),
                    Change::State => matches!(ty, ColumnType::Bool | ColumnType::Enum(_)),
                    Change::Reference | Change::Link => ty == ColumnType::Uuid,
                    Change::Free | Change::Fixed | Change::Touch => true,
                };
                assert!(fits, "{}.{}", entity.name, column.name);
                if let ColumnType::Enum(name) = ty {
                    assert_eq!(name, format!("caliber_{}_{}", entity.name, column.name));
                }
            }
        }
    }

    #[test]
    fn arrows_lead_to_other_states() {
        for entity in &ENTITIES {
            assert_eq!(count(entity, Change::State), usize::from(!entity.states.is_empty()));
            assert!(entity.states.len() <= Entity::MAX_STATES);
            let labels: HashSet<_> = entity.states.iter().map(|s| s.label).collect();
            assert_eq!(labels.len(), entity.states.len());
            for state in entity.states {
                for next in state.next {
                    assert!(labels.contains(next), "{}: {next}", entity.name);
                    assert_ne!(*next, state.label);
                }
            }
            if let Some(i) = entity.position_of(Change::State)
                && entity.columns[i].ty == ColumnType::Bool
            {
                assert!(entity.states.iter().map(|s| s.label).eq(["false", "true"]));
            }
        }
    }
}
