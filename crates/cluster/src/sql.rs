//! The tables of a store, asked by SQL: here, or on a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use ballista_core::execution_plans::execute_physical_plan;
use ballista_core::extension::SessionConfigExt;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::common::collect;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::prelude::{ParquetReadOptions, SQLOptions, SessionContext};
use datafusion_proto::protobuf::PhysicalPlanNode;
use store::{Catalog, TableFile};

use crate::analysis::{Newest, Place, newest};
use crate::codec::Codec;
use crate::engine::Engine;
use crate::nodes::session;
use crate::plan::file_of;
use crate::task::below;

/// Bytes of files that one task of a scan reads, about (*assumed*: some seconds' work).
const SCANNED: u64 = 64 << 20;

/// A table of a store: the files of one kind of record that count.
#[derive(Debug)]
struct StoreTable {
    base: String,
    prefix: String,
    files: Vec<TableFile>,
    schema: TableSchema,
}

impl StoreTable {
    fn new(place: &Place, files: Vec<TableFile>) -> Self {
        let behind = vec![
            Arc::new(Field::new("day", DataType::Utf8, false)),
            Arc::new(Field::new("site", DataType::UInt16, false)),
        ];
        let columns = Arc::new(Schema::new(store::columns()));
        let schema = TableSchema::builder(columns).with_table_partition_cols(behind).build();
        Self { base: place.base.clone(), prefix: place.prefix.clone(), files, schema }
    }

    fn file(&self, f: &TableFile) -> Result<PartitionedFile> {
        let day = f.path.split('/').find_map(|part| part.strip_prefix("day=")).unwrap_or_default();
        let values = vec![ScalarValue::Utf8(Some(day.to_owned())), ScalarValue::UInt16(Some(f.site))];
        Ok(file_of(&self.prefix, f)?.with_partition_values(values))
    }
}

#[async_trait]
impl TableProvider for StoreTable {
    fn schema(&self) -> SchemaRef {
        self.schema.table_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut source = ParquetSource::new(self.schema.clone());
        if let Some(wanted) = conjunction(filters.to_vec()) {
            let columns = DFSchema::try_from(self.schema())?;
            source = source.with_predicate(state.create_physical_expr(wanted, &columns)?);
        }
        let bytes: u64 = self.files.iter().map(|f| f.bytes).sum();
        let groups = (bytes.div_ceil(SCANNED) as usize).clamp(1, self.files.len().max(1));
        let mut grouped = vec![Vec::new(); groups];
        for (at, f) in self.files.iter().enumerate() {
            grouped[at % groups].push(self.file(f)?);
        }
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(&self.base)?, Arc::new(source))
            .with_file_groups(grouped.into_iter().map(FileGroup::new).collect())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// The tables of an analysis.
const ANALYSED: [&str; 2] = ["hosts", "evidence"];

/// What a question is answered.
pub struct Answer {
    /// Its rows.
    pub rows: Vec<RecordBatch>,
    /// The analysis that it is from, where it asks for what was found.
    pub of: Option<Newest>,
}

/// Asks a store: a table for each kind of record (`conn`, `dns`, `http` …), and `hosts` and `evidence` of its newest analysis, if it has one.
///
/// # Errors
/// The question is none that only reads, or it cannot be answered.
pub async fn ask(
    catalog: &Catalog,
    place: &Place,
    engine: &Engine,
    runtime: Arc<RuntimeEnv>,
    (question, patience): (&str, Duration),
) -> anyhow::Result<Answer> {
    let context = SessionContext::new_with_config_rt(session(), runtime);
    let mut tables: BTreeMap<String, Vec<TableFile>> = BTreeMap::new();
    for file in catalog.files() {
        tables.entry(file.kind.clone()).or_default().push(file);
    }
    for (kind, files) in tables {
        context.register_table(kind.as_str(), Arc::new(StoreTable::new(place, files)))?;
    }
    let newest = newest(place, catalog).await?;
    if let Some(newest) = &newest {
        for table in ANALYSED {
            let path = below(&place.prefix, &format!("{}/{table}.parquet", newest.folder))?;
            let path = format!("{}{path}", place.base);
            context.register_parquet(table, path, ParquetReadOptions::default()).await?;
        }
    }
    let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let asked = context.sql_with_options(question, reads).await?;
    let is_asked = |table: &&str| {
        asked.logical_plan().display_indent().to_string().contains(&format!("TableScan: {table}"))
    };
    let of = newest.filter(|_| ANALYSED.iter().any(is_asked));
    let Engine::Cluster { at, .. } = engine else {
        return Ok(Answer { rows: asked.collect().await.context(Unanswered)?, of });
    };
    let mut plan = asked.create_physical_plan().await?;
    // What is lost of a last stage of several tasks may come twice.
    if plan.properties().output_partitioning().partition_count() > 1 {
        plan = match plan.properties().output_ordering().cloned() {
            Some(order) => Arc::new(SortPreservingMergeExec::new(order, plan)),
            None => Arc::new(CoalescePartitionsExec::new(plan)),
        };
    }
    let (session, codec) = (session(), Codec::default());
    let (config, id) = (session.ballista_config(), uuid::Uuid::new_v4().to_string());
    let at = format!("http://{at}");
    let answered = async {
        let rows = execute_physical_plan::<PhysicalPlanNode>(at, &config, plan, &codec, id, session).await?;
        anyhow::Ok(collect(rows).await?)
    };
    let rows = tokio::time::timeout(patience, answered).await;
    let rows = rows.unwrap_or_else(|_| bail!("no answer within {} s (--patience)", patience.as_secs()));
    Ok(Answer { rows: rows.context(Unanswered)?, of })
}

/// A question that can be asked was not answered to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the question was not answered to its end")]
pub struct Unanswered;
