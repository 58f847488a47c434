//! How an entity's row may change: the old row against the new row, on every path.

use crate::entity::ENTITIES;
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::model::{Assign, Change, Entity, Model, RowChange};

/// What a refusal names when the change is in a column that the entity does not define.
const ANOTHER_COLUMN: &str = "(another column)";

/// The rules of caliber-pg's entities, as the access method asks for them.
#[derive(Debug, Clone, Copy)]
pub struct Rules;

impl Model for Rules {
    fn entities(&self) -> &'static [Entity] {
        &ENTITIES
    }

    fn judge_update(&self, entity: &Entity, change: &RowChange) -> CaliberResult<Assign> {
        if entity.append_only {
            return Err(CaliberError::AppendOnly { entity: entity.name });
        }
        fixed_columns(entity, change)?;
        links(entity, change)?;
        transition(entity, change)?;
        final_state(entity, change)?;
        counters(entity, change)?;
        version(entity, change)
    }
}

/// The entity's changed columns: position, name, how it may change.
fn changed(
    entity: &Entity,
    change: &RowChange,
) -> impl Iterator<Item = (usize, &'static str, Change)> {
    let columns = entity.columns;
    let changed = change.changed.iter().filter_map(|i| columns.get(i).map(|column| (i, column)));
    changed.map(|(position, column)| (position, column.name, column.change))
}

fn fixed_columns(entity: &Entity, change: &RowChange) -> CaliberResult<()> {
    match changed(entity, change).find(|&(_, _, how)| how == Change::Fixed) {
        Some((_, column, _)) => Err(CaliberError::FixedColumn { entity: entity.name, column }),
        None => Ok(()),
    }
}

/// A link is set or taken away, never bent to something else.
fn links(entity: &Entity, change: &RowChange) -> CaliberResult<()> {
    let replaced =
        |position| !change.was_null.contains(position) && !change.is_null.contains(position);
    let bent = |&(position, _, how): &(usize, _, _)| how == Change::Link && replaced(position);
    match changed(entity, change).find(bent) {
        Some((_, column, _)) => Err(CaliberError::Relinked { entity: entity.name, column }),
        None => Ok(()),
    }
}

/// A state that moves must follow an arrow. No arrow leaves a null or unknown state.
fn transition(entity: &Entity, change: &RowChange) -> CaliberResult<()> {
    if !changed(entity, change).any(|(_, _, how)| how == Change::State) {
        return Ok(());
    }
    let state = |position: Option<usize>| position.and_then(|i| entity.states.get(i));
    let label = |position| state(position).map_or("null", |s| s.label);
    let (old, new) = change.state;
    let allowed = state(old).map_or(&[][..], |s| s.next);
    let same = old.is_some() && old == new;
    if same || state(new).is_some_and(|s| allowed.contains(&s.label)) {
        return Ok(());
    }
    Err(CaliberError::Transition {
        entity: entity.name,
        from: label(old).to_owned(),
        to: label(new).to_owned(),
        allowed,
    })
}

/// In a final state only the metadata changes, and what goes with every update. A reference may
/// become null: what it refers to was deleted, and the row outlives it.
fn final_state(entity: &Entity, change: &RowChange) -> CaliberResult<()> {
    let old = change.state.0.and_then(|i| entity.states.get(i));
    let Some(state) = old.filter(|state| state.is_final()) else {
        return Ok(());
    };
    let open = |&(position, _, how): &(usize, _, _)| match how {
        Change::Metadata | Change::Version | Change::UpdatedAt => true,
        Change::Reference => change.is_null.contains(position),
        _ => false,
    };
    let column = changed(entity, change).find(|c| !open(c)).map(|(_, name, _)| name);
    match column.or(change.others_changed.then_some(ANOTHER_COLUMN)) {
        Some(column) => Err(CaliberError::Final {
            entity: entity.name,
            state: state.label,
            column: column.to_owned(),
        }),
        None => Ok(()),
    }
}

fn counters(entity: &Entity, change: &RowChange) -> CaliberResult<()> {
    let Some((position, old, new)) = change.fallen else {
        return Ok(());
    };
    let (entity, columns) = (entity.name, entity.columns);
    match columns.get(position) {
        Some(c) if c.change == Change::Fence => {
            Err(CaliberError::FenceFell { entity, column: c.name, old, new })
        }
        Some(c) => Err(CaliberError::CounterFell { entity, column: c.name, old, new }),
        None => Ok(()),
    }
}

/// What becomes of `version` and `updated_at`. An old version that is null counts as 0.
fn version(entity: &Entity, change: &RowChange) -> CaliberResult<Assign> {
    if entity.position_of(Change::Version).is_none() {
        return Ok(Assign::default());
    }
    let quiet =
        |how| matches!(how, Change::Counter | Change::Fence | Change::Touch | Change::Version);
    let major = change.others_changed || changed(entity, change).any(|(_, _, how)| !quiet(how));
    let (old, new) = change.version;
    let next = old.unwrap_or(0).checked_add(1);
    let bumped = next.is_some() && new == next;
    if !bumped && (new != old || major && next.is_none()) {
        return Err(CaliberError::VersionStep { entity: entity.name, old, new });
    }
    let written = || changed(entity, change).any(|(_, _, how)| how == Change::UpdatedAt);
    let has_updated_at = || entity.position_of(Change::UpdatedAt).is_some();
    Ok(Assign {
        version: next.filter(|_| major && !bumped),
        updated_at: (major || bumped) && !written() && has_updated_at(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::entity::{
        ARTIFACT, CONFLICT, DELEGATION, HANDOFF, MESSAGE, SCOPE, TRAJECTORY, TURN, scope,
        trajectory,
    };
    use caliber_am::model::ColumnSet;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    fn judge(entity: &Entity, change: &RowChange) -> CaliberResult<Assign> {
        Rules.judge_update(entity, change)
    }

    fn set(positions: impl IntoIterator<Item = usize>) -> ColumnSet {
        positions.into_iter().fold(ColumnSet::EMPTY, ColumnSet::with)
    }

    /// An update of an active row at version 5 that changes these columns.
    fn update(entity: &Entity, positions: &[usize]) -> RowChange {
        let active = entity.states.iter().position(|s| ["active", "true"].contains(&s.label));
        RowChange {
            changed: set(positions.iter().copied()),
            state: (active, active),
            version: (Some(5), Some(5)),
            ..RowChange::default()
        }
    }

    fn rename() -> RowChange {
        update(TRAJECTORY, &[trajectory::column::NAME])
    }

    fn assigned(version: i64) -> Assign {
        Assign { version: Some(version), updated_at: true }
    }

    /// The update as its writer would have to write it to leave nothing to assign.
    fn carried_out(entity: &Entity, change: &RowChange, assign: Assign) -> RowChange {
        let mut done = *change;
        if let Some(version) = assign.version {
            done.version.1 = Some(version);
            done.changed = done.changed.with(entity.position_of(Change::Version).unwrap());
        }
        if assign.updated_at {
            done.changed = done.changed.with(entity.position_of(Change::UpdatedAt).unwrap());
        }
        done
    }

    /// Whether the update changes more than counters, touches and the version.
    fn is_major(entity: &Entity, change: &RowChange) -> bool {
        change.others_changed
            || change.changed.iter().any(|i| {
                use Change::*;
                matches!(
                    entity.columns[i].change,
                    Free | Fixed | State | Metadata | UpdatedAt | Reference | Link
                )
            })
    }

    #[test]
    fn a_major_update_raises_version_and_updated_at() {
        assert_eq!(judge(TRAJECTORY, &rename()), Ok(assigned(6)));
        let others = RowChange { others_changed: true, ..update(SCOPE, &[]) };
        assert_eq!(judge(SCOPE, &others), Ok(assigned(6)));
    }

    #[test]
    fn an_update_that_changes_nothing_assigns_nothing() {
        assert_eq!(judge(TRAJECTORY, &update(TRAJECTORY, &[])), Ok(Assign::default()));
    }

    #[test]
    fn counters_and_fences_rise_without_version() {
        use scope::column::*;
        let change = update(SCOPE, &[TOKENS_USED, TURN_COUNT, FENCE]);
        assert_eq!(judge(SCOPE, &change), Ok(Assign::default()));
    }

    #[test]
    fn the_writer_may_set_the_next_version_and_updated_at() {
        use trajectory::column::*;
        let mut change = update(TRAJECTORY, &[NAME, VERSION]);
        change.version.1 = Some(6);
        let only_time = Ok(Assign { version: None, updated_at: true });
        assert_eq!(judge(TRAJECTORY, &change), only_time);
        change.changed = set([VERSION]);
        assert_eq!(judge(TRAJECTORY, &change), only_time);
        change.changed = set([VERSION, UPDATED_AT]);
        assert_eq!(judge(TRAJECTORY, &change), Ok(Assign::default()));
        let time = update(TRAJECTORY, &[UPDATED_AT]);
        assert_eq!(judge(TRAJECTORY, &time), Ok(Assign { version: Some(6), updated_at: false }));
    }

    #[test]
    fn any_other_version_is_refused() {
        use trajectory::column::*;
        for new in [None, Some(4), Some(7), Some(i64::MIN), Some(i64::MAX)] {
            for columns in [&[VERSION][..], &[NAME, VERSION]] {
                let mut change = update(TRAJECTORY, columns);
                change.version.1 = new;
                let error = judge(TRAJECTORY, &change).unwrap_err();
                assert_eq!(error.sqlstate(), "55000");
                let step = CaliberError::VersionStep { entity: "trajectory", old: Some(5), new };
                assert_eq!(error, step);
            }
        }
    }

    #[test]
    fn a_null_version_counts_as_zero() {
        let change = RowChange { version: (None, None), ..rename() };
        assert_eq!(judge(TRAJECTORY, &change), Ok(assigned(1)));
    }

    #[test]
    fn the_highest_version_is_the_last() {
        let last = (Some(i64::MAX), Some(i64::MAX));
        let change = RowChange { version: last, ..rename() };
        for new in [last.1, None, Some(i64::MIN)] {
            let version = (last.0, new);
            let refusal = judge(TRAJECTORY, &RowChange { version, ..change });
            let refused = matches!(refusal, Err(CaliberError::VersionStep { .. }));
            assert!(refused, "{refusal:?}");
        }
        let counter = update(SCOPE, &[scope::column::TURN_COUNT]);
        let counter = RowChange { version: last, ..counter };
        assert_eq!(judge(SCOPE, &counter), Ok(Assign::default()));
    }

    #[test]
    fn turns_never_change() {
        for change in [RowChange::default(), update(TURN, &[9])] {
            let error = judge(TURN, &change).unwrap_err();
            assert_eq!(error, CaliberError::AppendOnly { entity: "turn" });
        }
    }

    #[test]
    fn a_falling_counter_and_a_falling_fence_differ() {
        use scope::column::*;
        let fallen = |position| {
            let change = update(SCOPE, &[position]);
            judge(SCOPE, &RowChange { fallen: Some((position, 7, Some(3))), ..change }).unwrap_err()
        };
        assert_eq!(
            fallen(TOKENS_USED),
            CaliberError::CounterFell {
                entity: "scope",
                column: "tokens_used",
                old: 7,
                new: Some(3)
            }
        );
        assert_eq!(fallen(TOKENS_USED).sqlstate(), "55000");
        assert_eq!(
            fallen(FENCE),
            CaliberError::FenceFell { entity: "scope", column: "fence", old: 7, new: Some(3) }
        );
        assert_eq!(fallen(FENCE).sqlstate(), "55006");
    }

    #[test]
    fn states_move_along_the_arrows_only() {
        for entity in ENTITIES.iter().filter(|e| !e.states.is_empty()) {
            let column = entity.position_of(Change::State).unwrap();
            let states = || (0..entity.states.len()).map(Some).chain([None]);
            for (old, new) in states().flat_map(|old| states().map(move |new| (old, new))) {
                let change = update(entity, &[column]);
                let verdict = judge(entity, &RowChange { state: (old, new), ..change });
                let label = |s: Option<usize>| s.map_or("null", |s| entity.states[s].label);
                let next = old.map_or(&[][..], |s| entity.states[s].next);
                if new.is_some() && next.contains(&label(new)) {
                    assert_eq!(verdict, Ok(assigned(6)));
                } else if old.is_some() && old == new {
                    let is_final = matches!(verdict, Err(CaliberError::Final { .. }));
                    assert_eq!(is_final, next.is_empty());
                    assert_eq!(verdict == Ok(assigned(6)), !is_final);
                } else {
                    let error = verdict.unwrap_err();
                    let (from, to) = (label(old).to_owned(), label(new).to_owned());
                    let entity = entity.name;
                    assert_eq!(error, CaliberError::Transition { entity, from, to, allowed: next });
                }
            }
        }
    }

    #[test]
    fn the_arrows_are_those_of_the_documentation() {
        let arrows = |entity: &Entity| {
            let mut arrows = Vec::new();
            for state in entity.states {
                arrows.extend(state.next.iter().map(|next| (state.label, *next)));
            }
            arrows
        };
        assert_eq!(
            arrows(TRAJECTORY),
            [
                ("active", "suspended"),
                ("active", "completed"),
                ("active", "failed"),
                ("suspended", "active"),
                ("suspended", "completed"),
                ("suspended", "failed"),
            ]
        );
        assert_eq!(arrows(SCOPE), [("true", "false")]);
        assert_eq!(
            arrows(MESSAGE),
            [
                ("pending", "delivered"),
                ("pending", "dead"),
                ("delivered", "pending"),
                ("delivered", "acknowledged"),
                ("delivered", "dead"),
                ("dead", "pending"),
            ]
        );
        assert_eq!(
            arrows(DELEGATION),
            [
                ("pending", "accepted"),
                ("pending", "rejected"),
                ("pending", "failed"),
                ("accepted", "in_progress"),
                ("accepted", "completed"),
                ("accepted", "failed"),
                ("in_progress", "completed"),
                ("in_progress", "failed"),
            ]
        );
        assert_eq!(
            arrows(HANDOFF),
            [("initiated", "accepted"), ("initiated", "rejected"), ("accepted", "completed")]
        );
        assert_eq!(
            arrows(CONFLICT),
            [
                ("detected", "resolving"),
                ("detected", "resolved"),
                ("detected", "escalated"),
                ("resolving", "resolved"),
                ("resolving", "escalated"),
                ("escalated", "resolving"),
                ("escalated", "resolved"),
            ]
        );
    }

    #[test]
    fn a_row_with_an_unknown_state_can_change_elsewhere() {
        let change = RowChange { state: (None, None), ..rename() };
        assert_eq!(judge(TRAJECTORY, &change), Ok(assigned(6)));
    }

    #[test]
    fn in_a_final_state_only_metadata_changes() {
        use scope::column::*;
        let closed =
            |columns: &[usize]| RowChange { state: (Some(0), Some(0)), ..update(SCOPE, columns) };
        assert_eq!(judge(SCOPE, &closed(&[METADATA])), Ok(assigned(6)));
        let refused = |change| match judge(SCOPE, &change) {
            Err(CaliberError::Final { state: "false", column, .. }) => column,
            other => format!("{other:?}"),
        };
        assert_eq!(refused(closed(&[NAME, FENCE, METADATA])), "name");
        assert_eq!(refused(closed(&[TOKENS_USED])), "tokens_used");
        let others = RowChange { others_changed: true, ..closed(&[METADATA]) };
        assert_eq!(refused(others), "(another column)");
        let reopened = RowChange { state: (Some(0), Some(1)), ..closed(&[IS_ACTIVE, CLOSED_AT]) };
        let verdict = judge(SCOPE, &reopened);
        assert!(matches!(verdict, Err(CaliberError::Transition { allowed: &[], .. })));
    }

    #[test]
    fn a_link_is_set_or_taken_away_but_never_bent() {
        use crate::entity::artifact::column::SUPERSEDED_BY;
        let bent = update(ARTIFACT, &[SUPERSEDED_BY]);
        let relinked = CaliberError::Relinked { entity: "artifact", column: "superseded_by" };
        assert_eq!(judge(ARTIFACT, &bent), Err(relinked));
        let link = set([SUPERSEDED_BY]);
        assert_eq!(judge(ARTIFACT, &RowChange { was_null: link, ..bent }), Ok(assigned(6)));
        assert_eq!(judge(ARTIFACT, &RowChange { is_null: link, ..bent }), Ok(assigned(6)));
    }

    #[test]
    fn a_final_row_outlives_what_it_refers_to() {
        use crate::entity::message::column::{CLAIMED_BY, TRAJECTORY_ID};
        let acknowledged = MESSAGE.states.iter().position(|s| s.label == "acknowledged");
        let change = RowChange {
            state: (acknowledged, acknowledged),
            ..update(MESSAGE, &[TRAJECTORY_ID, CLAIMED_BY])
        };
        let refused = judge(MESSAGE, &RowChange { is_null: set([TRAJECTORY_ID]), ..change });
        assert!(
            matches!(refused, Err(CaliberError::Final { column, .. }) if column == "claimed_by")
        );
        let deleted = RowChange { is_null: change.changed, ..change };
        assert_eq!(judge(MESSAGE, &deleted), Ok(assigned(6)));
    }

    #[test]
    fn the_first_broken_rule_is_reported() {
        use trajectory::column::*;
        let mut change = RowChange {
            changed: set([STATUS, FENCE, CREATED_AT, ROOT_TRAJECTORY_ID]),
            state: (Some(2), Some(0)),
            fallen: Some((FENCE, 2, Some(1))),
            version: (Some(5), Some(1)),
            others_changed: true,
            ..RowChange::default()
        };
        let mut report = |fixed: fn(&mut RowChange)| {
            let error = judge(TRAJECTORY, &change).unwrap_err().to_string();
            fixed(&mut change);
            error
        };
        assert_eq!(
            [
                report(|c| c.changed = set([STATUS, FENCE, CREATED_AT])),
                report(|c| c.changed = set([STATUS, FENCE])),
                report(|c| (c.changed, c.state.1) = (set([FENCE]), Some(2))),
                report(|c| c.state = (Some(1), Some(1))),
                report(|c| c.fallen = None),
            ],
            [
                "column \"root_trajectory_id\" of trajectory rows is fixed",
                "column \"created_at\" of trajectory rows is fixed",
                "trajectory cannot go from \"completed\" to \"active\"",
                "trajectory is final in state \"completed\"",
                "fence of this trajectory cannot fall",
            ]
        );
        let last = judge(TRAJECTORY, &change).unwrap_err().to_string();
        assert_eq!(last, "version of trajectory rows rises by exactly one with each update");
    }

    fn versions() -> impl Strategy<Value = (Option<i64>, Option<i64>)> {
        let old = prop_oneof![
            8 => (1..100i64).prop_map(Some),
            1 => Just(None),
            1 => select(vec![i64::MIN, -1, 0, i64::MAX - 1, i64::MAX]).prop_map(Some),
        ];
        let step = prop_oneof![4 => Just(0), 3 => Just(1), 1 => -2..4i64];
        let is_null = proptest::bool::weighted(0.05);
        (old, step, is_null).prop_map(|(old, step, is_null)| match (old, step) {
            _ if is_null => (old, None),
            (None, 0) => (None, None),
            _ => (old, Some(old.unwrap_or(0).saturating_add(step))),
        })
    }

    /// Updates of mutable entities, as the access method could describe them.
    fn updates() -> impl Strategy<Value = (&'static Entity, RowChange)> {
        let mutable = ENTITIES.iter().filter(|e| !e.append_only).collect::<Vec<_>>();
        select(mutable).prop_flat_map(|entity| {
            let fixed = |i: &usize| entity.columns[*i].change == Change::Fixed;
            let (fixed, loose): (Vec<usize>, Vec<usize>) =
                (0..entity.columns.len()).partition(fixed);
            let columns = (
                subsequence(loose.clone(), 0..=loose.len()),
                prop_oneof![9 => Just(vec![]), 1 => subsequence(fixed, 1..=1)],
            );
            let state = (0..=entity.states.len()).prop_map(|i| entity.states.get(i).map(|_| i));
            let fall = prop_oneof![
                9 => Just(None),
                1 => (any::<i64>(), proptest::option::of(any::<i64>())).prop_map(Some)
            ];
            let others = proptest::bool::weighted(0.2);
            (columns, (state.clone(), state), versions(), others, fall, any::<u64>()).prop_map(
                move |((loose, fixed), state, version, others_changed, fall, nulls)| {
                    let how = |i: usize| entity.columns[i].change;
                    let mut loose = loose;
                    loose.retain(|&i| !matches!(how(i), Change::State | Change::Version));
                    let falling =
                        loose.iter().find(|&&i| matches!(how(i), Change::Counter | Change::Fence));
                    let fallen = falling.and_then(|&i| fall.map(|(old, new)| (i, old, new)));
                    let mut changed = set(loose.into_iter().chain(fixed));
                    if state.0 != state.1 {
                        changed = changed.with(entity.position_of(Change::State).unwrap());
                    }
                    if version.0 != version.1 {
                        changed = changed.with(entity.position_of(Change::Version).unwrap());
                    }
                    let is_null = set(changed.iter().filter(|i| nulls >> i & 1 != 0));
                    let was_null = set(changed.iter().filter(|&i| {
                        !is_null.contains(i) && (how(i) == Change::Link || nulls >> i & 2 != 0)
                    }));
                    let change = RowChange { changed, was_null, is_null, ..RowChange::default() };
                    (entity, RowChange { others_changed, state, version, fallen, ..change })
                },
            )
        })
    }

    proptest! {
        #![proptest_config(crate::property_tests())]

        #[test]
        fn an_accepted_update_never_lowers_the_version((entity, change) in updates()) {
            if let Ok(assign) = judge(entity, &change) {
                prop_assert!(assign.version.or(change.version.1) >= change.version.0);
            }
        }

        #[test]
        fn an_accepted_major_update_ends_one_version_higher((entity, change) in updates()) {
            if let (Ok(assign), true) = (judge(entity, &change), is_major(entity, &change)) {
                let done = carried_out(entity, &change, assign);
                prop_assert_eq!(done.version.1, Some(change.version.0.unwrap_or(0) + 1));
                let updated_at = entity.position_of(Change::UpdatedAt).unwrap();
                prop_assert!(done.changed.contains(updated_at));
                prop_assert!(!(assign.updated_at && change.changed.contains(updated_at)));
            }
        }

        #[test]
        fn what_is_not_major_is_assigned_nothing((entity, mut change) in updates()) {
            let quiet = |&i: &usize| {
                matches!(entity.columns[i].change, Change::Counter | Change::Fence | Change::Touch)
            };
            change.changed = set(change.changed.iter().filter(quiet));
            change.others_changed = false;
            change.version.1 = change.version.0;
            change.state.1 = change.state.0;
            if let Ok(assign) = judge(entity, &change) {
                prop_assert_eq!(assign, Assign::default());
            }
        }

        #[test]
        fn an_update_carried_out_is_judged_the_same((entity, change) in updates()) {
            if let Ok(assign) = judge(entity, &change) {
                let done = carried_out(entity, &change, assign);
                prop_assert_eq!(judge(entity, &done), Ok(Assign::default()));
            }
        }

        #[test]
        fn an_accepted_update_keeps_every_rule((entity, change) in updates()) {
            let how = |wanted: &[Change]| {
                change.changed.iter().any(|i| wanted.contains(&entity.columns[i].change))
            };
            let arrow = |old: usize, new: usize| {
                old == new || entity.states[old].next.contains(&entity.states[new].label)
            };
            let moves = match change.state {
                (Some(old), Some(new)) => arrow(old, new),
                (old, new) => old == new,
            };
            let is_final = change.state.0.is_some_and(|s| entity.states[s].is_final());
            use Change::*;
            let refers = |i: usize| matches!(entity.columns[i].change, Reference);
            let frozen = how(&[Fixed, Free, State, Counter, Fence, Touch, Link])
                || change.changed.iter().any(|i| refers(i) && !change.is_null.contains(i))
                || change.others_changed;
            let broken =
                how(&[Fixed]) || !moves || is_final && frozen || change.fallen.is_some();
            match judge(entity, &change) {
                Ok(_) => prop_assert!(!broken),
                Err(CaliberError::VersionStep { .. }) => prop_assert!(!broken),
                Err(_) => prop_assert!(broken),
            }
        }
    }
}
