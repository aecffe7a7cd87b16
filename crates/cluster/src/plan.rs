//! The plan of a task: scan, share, total order, analyst.
//!
//! The whole of it is made by whoever asks, and travels as it is; what is embedded runs the same. A table's files are sorted by bucket, so a range of shares reads
//! its groups of rows alone. Leases tell of everybody, and go to every share.

use std::sync::Arc;

use chrono::DateTime;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, CaseExpr, Column, lit};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use object_store::ObjectMeta;
use store::TableFile;

use crate::analyse::Analyse;
use crate::task::{Task, below};

/// The columns that the analyst takes, in its order.
pub const SHARE: &str = "share";
/// See [`SHARE`].
pub const KNOWN: &str = "known";
/// See [`SHARE`].
pub const RUN: &str = "run";
/// See [`SHARE`].
pub const SEQ: &str = "seq";
/// See [`SHARE`].
pub const RECORD: &str = "record";
/// See [`SHARE`]: whether the row is the one that counts where a record stands at both ends of its flow.
pub const IS_PRIMARY: &str = "is_primary";
/// The table that tells of everybody.
pub const LEASES: &str = "dhcp";
/// The share that a file is read for, whatever hosts its rows are of.
pub const TO: &str = "to";
/// Each of its rows is read for its host's share.
pub const WHOSE_IT_IS: u8 = u8::MAX;

/// The columns of a table's files that the analyst needs.
fn columns() -> SchemaRef {
    let needed = ["bucket", KNOWN, SEQ, RECORD, IS_PRIMARY];
    let all = store::columns();
    Arc::new(Schema::new(
        needed.iter().filter_map(|name| all.iter().find(|f| f.name() == name).cloned()).collect::<Vec<_>>(),
    ))
}

fn column(name: &str, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(Arc::new(Column::new_with_schema(name, schema)?))
}

fn binary(left: Arc<dyn PhysicalExpr>, op: Operator, right: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(left, op, right))
}

/// A file of a table, as a scan takes it.
///
/// # Errors
/// Its name is none.
pub fn file_of(prefix: &str, f: &TableFile) -> Result<PartitionedFile> {
    let location = below(prefix, &f.path).map_err(|e| DataFusionError::External(e.into()))?;
    // It is never written again.
    let last_modified = DateTime::default();
    Ok(PartitionedFile::new_from_meta(ObjectMeta {
        location,
        last_modified,
        size: f.bytes,
        e_tag: None,
        version: None,
    }))
}

/// The plan of a task over these files of its site. It is one stage: what one executor reads comes from the store and from no other executor, so that who is lost takes
/// with him what he does, and holds nobody up.
///
/// # Errors
/// It cannot be made, which is a fault of ours.
pub fn plan(task: Task, files: &[TableFile]) -> Result<Arc<dyn ExecutionPlan>> {
    let behind = [RUN, TO].map(|name| {
        let kind = if name == RUN { DataType::UInt32 } else { DataType::UInt8 };
        Arc::new(Field::new(name, kind, false))
    });
    let schema = TableSchema::builder(columns()).with_table_partition_cols(behind.to_vec()).build();
    let all = schema.table_schema().clone();
    let (bucket, to) = (column("bucket", &all)?, column(TO, &all)?);
    let (first, last) = task.buckets();
    let in_range = binary(
        binary(bucket.clone(), Operator::GtEq, lit(first)),
        Operator::And,
        binary(bucket.clone(), Operator::LtEq, lit(last)),
    );
    let is_told_to = binary(to.clone(), Operator::NotEq, lit(WHOSE_IT_IS));
    let wanted = binary(is_told_to.clone(), Operator::Or, in_range);
    let file = |f: &TableFile, to: u8| -> Result<PartitionedFile> {
        let values = vec![ScalarValue::UInt32(Some(f.run)), ScalarValue::UInt8(Some(to))];
        Ok(file_of(&task.prefix, f)?.with_partition_values(values))
    };
    let mut group = Vec::new();
    for f in files {
        if f.kind == LEASES {
            for share in task.shares.0..task.shares.1 {
                group.push(file(f, share as u8)?);
            }
        } else {
            group.push(file(f, WHOSE_IT_IS)?);
        }
    }
    let source = ParquetSource::new(schema).with_predicate(wanted.clone());
    let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(&task.base)?, Arc::new(source))
        .with_file_group(FileGroup::new(group))
        .build();
    let scanned = DataSourceExec::from_data_source(config);
    let filtered = Arc::new(FilterExec::try_new(wanted, scanned)?);
    let each = (record::BUCKETS / task.of) as u8;
    let its_own = binary(bucket, Operator::Divide, lit(each));
    let share: Arc<dyn PhysicalExpr> =
        Arc::new(CaseExpr::try_new(None, vec![(is_told_to, to)], Some(its_own))?);
    let mut exprs = vec![(share, SHARE.to_owned())];
    for name in [KNOWN, RUN, SEQ, RECORD, IS_PRIMARY, TO] {
        exprs.push((column(name, &all)?, name.to_owned()));
    }
    let rows = Arc::new(ProjectionExec::try_new(exprs, filtered)?);
    let sorted = SortExec::new(order(&rows.schema())?, rows);
    Ok(Arc::new(Analyse::new(Arc::new(task), Arc::new(sorted))))
}

/// The total order: nothing that became known at once is left to chance. Of the two rows of a record between two hosts of one share the one that counts comes first.
fn order(schema: &Schema) -> Result<LexOrdering> {
    let by =
        [SHARE, KNOWN, RUN, SEQ].iter().map(|name| Ok(PhysicalSortExpr::new_default(column(name, schema)?)));
    let mut by: Vec<PhysicalSortExpr> = by.collect::<Result<_>>()?;
    by.push(PhysicalSortExpr::new_default(column(IS_PRIMARY, schema)?).desc());
    LexOrdering::new(by).ok_or_else(|| DataFusionError::Internal("no order".into()))
}
