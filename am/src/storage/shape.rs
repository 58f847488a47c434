//! What entity a relation stores, and where the entity's columns are in it.

use super::model;
use crate::error::{CaliberError, CaliberResult};
use crate::model::{Change, ColumnType, Entity};
use crate::pg::relation::{Rel, attribute_name};
use crate::pg::{invalidation, ports, types};
use pgrx_pg_sys as pg_sys;
use std::sync::atomic::{AtomicU64, Ordering};

/// The position of an entity's columns in one relation. Plain data: a copy is kept in the relcache
/// entry (`rd_amcache`), which drops it with every invalidation.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Position of the entity in the model, [`NOT_AN_ENTITY`] for a plain table.
    entity: u16,
    /// Numbers what was built: another one after each invalidation of the relation.
    generation: u64,
    /// When the relation passed the check before its first write, by [`invalidation::seen`]; 0: not yet.
    checked_at: u64,
    /// The attribute number of each of the entity's columns, by their position.
    attnos: [i16; Entity::MAX_COLUMNS],
    /// The composite type that stands for a row of the entity.
    row_type: pg_sys::Oid,
    /// Whether the columns are the entity's alone and in its order, each stored: then a stored row
    /// is laid out as a value of the row type is.
    is_in_order: bool,
    /// The enum values of the entity's states, by their position.
    states: [pg_sys::Oid; Entity::MAX_STATES],
}

/// The generation of the next shape, counted from 1.
static GENERATIONS: AtomicU64 = AtomicU64::new(1);

const NOT_AN_ENTITY: u16 = u16::MAX;
/// `InvalidSubTransactionId`: the relation was not created by this transaction.
const INVALID_SUB_TRANSACTION_ID: pg_sys::SubTransactionId = 0;

impl Shape {
    /// The entity. A shape is handed out only for a relation that stores one.
    pub fn entity(&self) -> &'static Entity {
        match super::model().and_then(|m| m.entities().get(usize::from(self.entity))) {
            Some(entity) => entity,
            None => unreachable!("shapes are made from the model's entities"),
        }
    }

    /// The number of this shape, which no other shape of this backend has. The relation's next
    /// invalidation ends it.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the relation passed the check before its first write. A change of the relation
    /// itself drops the whole shape; what a partition's parents have is checked anew after any
    /// invalidation, because theirs does not reach the partition.
    pub fn is_writable(&self, rel: Rel<'_>) -> bool {
        if rel.class().relispartition {
            self.checked_at == invalidation::seen()
        } else {
            self.checked_at != 0
        }
    }

    /// The composite type that stands for a row of the entity; `None` when the extension lost it.
    pub fn row_type(&self) -> Option<pg_sys::Oid> {
        (self.row_type != pg_sys::InvalidOid).then_some(self.row_type)
    }

    /// Whether a stored row is laid out as a value of the row type is.
    pub const fn is_in_order(&self) -> bool {
        self.is_in_order
    }

    /// The attribute number of the column at this position of the entity.
    pub fn attno(&self, position: usize) -> i16 {
        self.attnos[position]
    }

    /// Whether a table of so many attributes has some that are not the entity's.
    pub fn has_others(&self, attributes: usize) -> bool {
        attributes > self.entity().columns.len()
    }

    /// Whether the attribute at this index (from 0) is one of the entity's columns.
    pub fn has(&self, index: usize) -> bool {
        let attnos = &self.attnos[..self.entity().columns.len()];
        attnos.iter().any(|&attno| attno as usize == index + 1)
    }

    /// The attribute's index (from 0) of the first column that changes in this way.
    pub fn index_of(&self, change: Change) -> Option<usize> {
        self.entity().position_of(change).map(|position| self.attno(position) as usize - 1)
    }

    /// The value of the entity's state column, an enum, for the state with this label; `None` when the
    /// entity has no such state.
    pub fn state(&self, label: &str) -> Option<pg_sys::Oid> {
        let number = self.entity().states.iter().position(|state| state.label == label)?;
        Some(self.states[number])
    }

    /// The state that a value of the state column stands for, by its position.
    pub fn state_of(&self, ty: ColumnType, datum: pg_sys::Datum) -> Option<usize> {
        let entity = self.entity();
        if ty == ColumnType::Bool {
            let label = if datum.value() & 0xff != 0 { "true" } else { "false" };
            return entity.states.iter().position(|s| s.label == label);
        }
        let value = pg_sys::Oid::from(datum.value() as u32);
        self.states[..entity.states.len()].iter().position(|&s| s == value)
    }
}

/// The shape of the entity that the relation stores; `None` for a plain table.
///
/// # Errors
/// 42P16: two keys, a column missing or of another type.
pub fn of(rel: Rel<'_>) -> CaliberResult<Option<Shape>> {
    let shape = match cached(rel) {
        Some(shape) => shape,
        None => {
            let shape = build(rel)?;
            remember(rel, shape);
            shape
        }
    };
    Ok((shape.entity != NOT_AN_ENTITY).then_some(shape))
}

/// Remembers that the relation passed the check before its first write, which began when
/// [`invalidation::seen`] gave `checked_at`.
pub fn mark_writable(rel: Rel<'_>, mut shape: Shape, checked_at: u64) {
    shape.checked_at = checked_at;
    remember(rel, shape);
}

/// The check at CREATE TABLE: the names and types of the columns, which is all that exists.
///
/// # Errors
/// 42P16, as [`of`].
pub fn check_created(rel: Rel<'_>) -> CaliberResult<()> {
    // SAFETY: a plain bool, set before any backend starts.
    let binary_upgrade = unsafe { pg_sys::IsBinaryUpgrade };
    let created_now = rel.data().rd_createSubid != INVALID_SUB_TRANSACTION_ID;
    if created_now && !binary_upgrade && !is_transient(rel) {
        build(rel)?;
    }
    Ok(())
}

/// Whether this is the copy that a rewrite is going to fill, which is created as an ordinary table
/// `pg_temp_<OID>` and marked by `relrewrite` only later. (A user's table of such a name only
/// escapes the early check, not the one before its first write.)
fn is_transient(rel: Rel<'_>) -> bool {
    let name = rel.name();
    let number = name.strip_prefix("pg_temp_");
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn cached(rel: Rel<'_>) -> Option<Shape> {
    let cache = rel.data().rd_amcache.cast::<Shape>();
    // SAFETY: null, or written by `remember`; copied before anything can free it.
    unsafe { cache.as_ref() }.copied()
}

/// Keeps a copy in the relcache entry: one chunk, as `rd_amcache` asks.
fn remember(rel: Rel<'_>, shape: Shape) {
    let mut cache = rel.data().rd_amcache.cast::<Shape>();
    if cache.is_null() {
        // SAFETY: the relcache's context exists in every backend.
        let context = unsafe { pg_sys::CacheMemoryContext };
        // SAFETY: raises when out of memory.
        let chunk = unsafe { pg_sys::MemoryContextAlloc(context, size_of::<Shape>()) };
        let entry = rel.as_ptr();
        // SAFETY: the entry is open; its previous cache was null.
        unsafe { (*entry).rd_amcache = chunk };
        cache = chunk.cast();
    }
    // SAFETY: a chunk of this size, aligned by palloc for every type.
    unsafe { cache.write(shape) };
}

/// The schema of the extension: the one in which the access method's handler function lives.
pub fn extension_namespace(rel: Rel<'_>) -> pg_sys::Oid {
    // SAFETY: a syscache look-up.
    unsafe { pg_sys::get_func_namespace(rel.data().rd_amhandler) }
}

/// Finds the key by its type, then the other columns by name and type.
fn build(rel: Rel<'_>) -> CaliberResult<Shape> {
    let plain = Shape {
        entity: NOT_AN_ENTITY,
        generation: GENERATIONS.fetch_add(1, Ordering::Relaxed),
        checked_at: 0,
        attnos: [0; Entity::MAX_COLUMNS],
        row_type: pg_sys::InvalidOid,
        is_in_order: false,
        states: [pg_sys::InvalidOid; Entity::MAX_STATES],
    };
    let Some(model) = model() else {
        return Ok(plain);
    };
    if !rel.is_plain_table() || rel.is_temporary() {
        return Ok(plain);
    }
    let namespace = extension_namespace(rel);
    let Some((number, key)) = find_key(rel, namespace, model.entities())? else {
        return Ok(plain);
    };
    let entity = &model.entities()[number];
    let mut shape = Shape {
        entity: number as u16,
        row_type: types::type_in(namespace, entity.row_type).unwrap_or(pg_sys::InvalidOid),
        ..plain
    };
    for (position, column) in entity.columns.iter().enumerate() {
        shape.attnos[position] = if column.ty == ColumnType::Key {
            key
        } else {
            find_column(rel, namespace, entity, position)?
        };
    }
    let columns = rel.columns();
    shape.is_in_order = columns.len() == entity.columns.len()
        && columns.live().all(|(index, attribute)| {
            shape.attnos[index] as usize == index + 1 && ports::is_stored_attribute(attribute)
        });
    if let Some(state) = entity.position_of(Change::State)
        && let ColumnType::Enum(name) = entity.columns[state].ty
    {
        let missing =
            |label| CaliberError::StateType { entity: entity.name, name: name.to_owned(), label };
        let state_type = types::type_in(namespace, name);
        for (value, state) in shape.states.iter_mut().zip(entity.states) {
            *value = state_type
                .and_then(|ty| types::enum_label(ty, state.label))
                .ok_or_else(|| missing(state.label))?;
        }
    }
    Ok(shape)
}

/// The entity whose key domain a live column has, and the column's attribute number.
fn find_key(
    rel: Rel<'_>,
    namespace: pg_sys::Oid,
    entities: &[Entity],
) -> CaliberResult<Option<(usize, i16)>> {
    let mut found: Option<(usize, i16, String)> = None;
    for (index, attribute) in rel.columns().live() {
        if attribute.atttypid.to_u32() < ports::FIRST_NORMAL_OBJECT_ID {
            continue;
        }
        let Some(ty) = types::describe(attribute.atttypid) else {
            continue;
        };
        if !ty.is_domain || ty.namespace != namespace {
            continue;
        }
        let Some(number) = entities.iter().position(|e| e.domain == ty.name) else {
            continue;
        };
        let name = String::from_utf8_lossy(attribute_name(attribute)).into_owned();
        if let Some((_, _, first)) = found {
            return Err(CaliberError::TwoKeys { table: rel.name(), first, second: name });
        }
        found = Some((number, index as i16 + 1, name));
    }
    Ok(found.map(|(number, attno, _)| (number, attno)))
}

/// The attribute number of the entity's column at `position`, which must have the right type.
fn find_column(
    rel: Rel<'_>,
    namespace: pg_sys::Oid,
    entity: &'static Entity,
    position: usize,
) -> CaliberResult<i16> {
    let column = &entity.columns[position];
    let wanted = type_oid(namespace, column.ty);
    let wanted_text = || wanted.map_or_else(|| format!("{:?}", column.ty), types::format_type);
    let Some((index, attribute)) = rel.columns().named(column.name) else {
        return Err(CaliberError::ColumnMissing {
            entity: entity.name,
            table: rel.name(),
            column: column.name,
            ty: wanted_text(),
        });
    };
    if Some(attribute.atttypid) != wanted {
        return Err(CaliberError::ColumnType {
            entity: entity.name,
            table: rel.name(),
            column: column.name,
            wanted: wanted_text(),
            found: types::format_type(attribute.atttypid),
        });
    }
    Ok(index as i16 + 1)
}

/// The type that a column of this kind has; `None` for an enum that the extension lost.
fn type_oid(namespace: pg_sys::Oid, ty: ColumnType) -> Option<pg_sys::Oid> {
    Some(match ty {
        ColumnType::Key | ColumnType::Uuid => pg_sys::UUIDOID,
        ColumnType::Text => pg_sys::TEXTOID,
        ColumnType::Int4 => pg_sys::INT4OID,
        ColumnType::Int8 => pg_sys::INT8OID,
        ColumnType::Bool => pg_sys::BOOLOID,
        ColumnType::Timestamptz => pg_sys::TIMESTAMPTZOID,
        ColumnType::Jsonb => pg_sys::JSONBOID,
        ColumnType::Float4 => pg_sys::FLOAT4OID,
        ColumnType::Bytea => pg_sys::BYTEAOID,
        ColumnType::TextArray => pg_sys::TEXTARRAYOID,
        ColumnType::UuidArray => types::array_of(pg_sys::UUIDOID)?,
        ColumnType::Vector => types::of_extension(c"vector", "vector")?,
        ColumnType::Enum(name) => types::type_in(namespace, name)?,
    })
}
