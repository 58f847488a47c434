//! The entities: what their tables look like, and how their rows may change.
//!
//! Each entity has a file of its own with one definition, `ENTITY`, and the positions of its
//! columns, `column`.

use caliber_am::model::Entity;

pub mod lock;
pub mod scope;
pub mod trajectory;
pub mod turn;

/// All entities. The order is that of the foreign keys: what is referred to comes first.
pub static ENTITIES: &[Entity] = &[trajectory::ENTITY, scope::ENTITY, turn::ENTITY, lock::ENTITY];

/// A task.
pub static TRAJECTORY: &Entity = &ENTITIES[0];
/// A context window with a token budget.
pub static SCOPE: &Entity = &ENTITIES[1];
/// One message of a conversation.
pub static TURN: &Entity = &ENTITIES[2];
/// A lease with a fencing token.
pub static LOCK: &Entity = &ENTITIES[3];

/// Defines an entity's `COLUMNS` and, from the same lines, their positions: the module `column`.
macro_rules! columns {
    ($($position:ident = $name:literal: $ty:expr, $change:ident;)+) => {
        const COLUMNS: &[caliber_am::model::Column] = {
            use caliber_am::model::{Change, Column, ColumnType::*};
            &[$(Column { name: $name, ty: $ty, change: Change::$change }),+]
        };

        /// The positions of the columns in the entity's definition and in its row type.
        pub mod column {
            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            enum Position { $($position),+ }

            $(
                #[doc = concat!("The position of `", $name, "`.")]
                pub const $position: usize = Position::$position as usize;
            )+

            #[cfg(test)]
            pub(in crate::entity) const ALL: &[(&str, usize)] =
                &[$((stringify!($position), $position)),+];
        }
    };
}
use columns;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use caliber_am::model::{Change, ColumnType};
    use std::collections::HashSet;

    const POSITIONS: &[&[(&str, usize)]] =
        &[trajectory::column::ALL, scope::column::ALL, turn::column::ALL, lock::column::ALL];

    fn count(entity: &Entity, change: Change) -> usize {
        entity.columns.iter().filter(|c| c.change == change).count()
    }

    #[test]
    fn names_follow_from_the_entity() {
        for entity in ENTITIES {
            assert_eq!(entity.domain, format!("caliber_{}_id", entity.name));
            assert_eq!(entity.table, format!("caliber_{}", entity.name));
            assert_eq!(entity.row_type, format!("caliber_{}_row", entity.name));
            assert_eq!(entity.key(), format!("{}_id", entity.name));
        }
        let names: HashSet<_> = ENTITIES.iter().map(|e| e.name).collect();
        assert_eq!(names.len(), ENTITIES.len());
        assert_eq!(
            [TRAJECTORY.name, SCOPE.name, TURN.name, LOCK.name],
            ["trajectory", "scope", "turn", "lock"]
        );
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
        for entity in ENTITIES {
            assert!(entity.columns.len() <= Entity::MAX_COLUMNS);
            assert_eq!(entity.columns[0].ty, ColumnType::Key);
            assert_eq!(entity.columns[0].change, Change::Fixed);
            assert_eq!(entity.columns.iter().filter(|c| c.ty == ColumnType::Key).count(), 1);
        }
    }

    #[test]
    fn mutable_entities_have_the_shared_columns() {
        for entity in ENTITIES {
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
        for entity in ENTITIES {
            for column in entity.columns {
                let ty = column.ty;
                let fits = match column.change {
                    Change::Version | Change::Fence => ty == ColumnType::Int8,
                    Change::UpdatedAt => ty == ColumnType::Timestamptz,
                    Change::Metadata => ty == ColumnType::Jsonb,
                    Change::Counter => matches!(ty, ColumnType::Int4 | ColumnType::Int8),
                    Change::State => matches!(ty, ColumnType::Bool | ColumnType::Enum(_)),
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
        for entity in ENTITIES {
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
