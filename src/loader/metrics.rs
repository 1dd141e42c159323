//! The statistics of a loader for Prometheus (feature `prometheus`), by its own client library.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::stats::METRICS;
use super::{Core, Loader};

/// A loader's statistics as a collector: `feedstock_loader_samples_total` and so on, read when they are asked for.
pub struct Metrics {
    core: Arc<Core>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("stats", &self.core.stats.report()).finish()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let report = self.core.stats.report();
        for (name, help, grows, value) in METRICS {
            let name = format!("feedstock_loader_{name}");
            let value = value(&report);
            if *grows {
                let counter = ConstCounter::new(value);
                counter.encode(encoder.encode_descriptor(&name, help, None, counter.metric_type())?)?;
            } else {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
            }
        }
        Ok(())
    }
}

impl Loader {
    /// The loader's statistics, to be registered where a program has its metrics. A registry with labels tells loaders apart:
    /// `registry.sub_registry_with_label(("loader".into(), "train".into())).register_collector(Box::new(loader.metrics()))`.
    pub fn metrics(&self) -> Metrics {
        Metrics { core: self.core.clone() }
    }

    /// The statistics as text that Prometheus reads (OpenMetrics 1.0).
    pub fn prometheus(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.metrics()));
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}
