//! Prometheus text: what a service counts, written by `prometheus-client` in the classic format.
//!
//! Metrics are read where they are kept at each scrape; nothing is registered. A name that ends in `_total` is a
//! counter, every other one that is no histogram a gauge. A metric without a series has its HELP and TYPE lines all the
//! same: they say what there is.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::hist::Counted;

pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// One scrape.
#[derive(Debug, Default)]
pub struct Exposition(Vec<Metric>);

#[derive(Debug)]
struct Metric {
    name: String,
    help: &'static str,
    kind: MetricType,
    series: Vec<(Vec<(&'static str, String)>, Value)>,
}

/// What one series shows.
#[derive(Debug)]
pub enum Value {
    /// A number of things.
    Count(u64),
    /// Seconds, a ratio.
    Measure(f64),
    /// Durations.
    Hist(Counted),
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Value::Count(n)
    }
}

impl From<usize> for Value {
    fn from(n: usize) -> Self {
        Value::Count(n as u64)
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Value::Measure(x)
    }
}

impl From<Counted> for Value {
    fn from(counted: Counted) -> Self {
        Value::Hist(counted)
    }
}

impl Exposition {
    /// A metric of one series without labels.
    pub fn one(&mut self, name: impl Into<String>, help: &'static str, value: impl Into<Value>) {
        self.series(name, help, [([("", ""); 0], value)]);
    }

    /// A metric with a series for each set of labels.
    pub fn series<const N: usize, L: ToString, V: Into<Value>>(
        &mut self,
        name: impl Into<String>,
        help: &'static str,
        series: impl IntoIterator<Item = ([(&'static str, L); N], V)>,
    ) {
        let name = name.into();
        let kind = if name.ends_with("_total") { MetricType::Counter } else { MetricType::Gauge };
        let labels = |labels: [(&'static str, L); N]| labels.map(|(key, value)| (key, value.to_string())).to_vec();
        let series = series.into_iter().map(|(of, value)| (labels(of), value.into())).collect();
        self.0.push(Metric { name, help, kind, series });
    }

    /// A histogram of durations for each set of labels.
    pub fn histogram<const N: usize, L: ToString>(
        &mut self,
        name: impl Into<String>,
        help: &'static str,
        series: impl IntoIterator<Item = ([(&'static str, L); N], Counted)>,
    ) {
        self.series(name, help, series);
        if let Some(metric) = self.0.last_mut() {
            metric.kind = MetricType::Histogram;
        }
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for Metric { name, help, kind, series } in &self.0 {
            // The encoder writes the end of a counter's name itself.
            let name = name.strip_suffix("_total").unwrap_or(name);
            let mut metric = encoder.encode_descriptor(name, help, None, *kind)?;
            for (labels, value) in series {
                let mut one = metric.encode_family(labels)?;
                match (kind, value) {
                    (MetricType::Counter, Value::Count(n)) => one.encode_counter::<NoLabelSet, _, u64>(n, None)?,
                    (MetricType::Counter, Value::Measure(x)) => one.encode_counter::<NoLabelSet, _, u64>(x, None)?,
                    (_, Value::Count(n)) => one.encode_gauge(n)?,
                    (_, Value::Measure(x)) => one.encode_gauge(x)?,
                    (_, Value::Hist(counted)) => {
                        let buckets: Vec<_> = counted.buckets().collect();
                        one.encode_histogram::<NoLabelSet>(counted.sum_s(), counted.count(), &buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The text of what `fill` writes.
pub fn text(fill: impl FnOnce(&mut Exposition)) -> String {
    let mut exposition = Exposition::default();
    fill(&mut exposition);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(exposition));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = prometheus_text::encode(&mut out, &registry);
    out
}

/// `values!(series, of: "name", "help" => value of `of`; ..)`: calls `series(name, help, |of| value)` for each.
#[macro_export]
macro_rules! values {
    ($series:ident, $of:ident: $($name:literal, $help:literal => $value:expr;)+) => {
        $($series($name, $help, |$of| $value.into());)+
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hist::Hist;

    #[test]
    fn the_text_is_the_classic_format_with_labels_escaped_and_histograms_cumulative() {
        let hist = Hist::new(&[1 << 8, 1 << 10, 100_000]);
        hist.record(200, 2);
        hist.record(1_000, 1);
        hist.record(1_000_000, 1);
        let got = text(|out| {
            out.one("tapedeck_level", "How it is.", 1_u64);
            out.series("tapedeck_lost_total", "What is lost.", [([("of", "a\"b\\c\n")], 7_u64)]);
            out.series("tapedeck_busy_seconds_total", "Time.", [([("of", "x"), ("by", "y")], 0.5)]);
            out.series("tapedeck_nothing", "Nothing yet.", [([("of", ""); 1], 0_u64); 0]);
            out.histogram("tapedeck_took_seconds", "How long.", [([("of", "z")], hist.counted())]);
        });
        let want = r#"# HELP tapedeck_level How it is.
# TYPE tapedeck_level gauge
tapedeck_level 1
# HELP tapedeck_lost_total What is lost.
# TYPE tapedeck_lost_total counter
tapedeck_lost_total{of="a\"b\\c\n"} 7
# HELP tapedeck_busy_seconds_total Time.
# TYPE tapedeck_busy_seconds_total counter
tapedeck_busy_seconds_total{of="x",by="y"} 0.5
# HELP tapedeck_nothing Nothing yet.
# TYPE tapedeck_nothing gauge
# HELP tapedeck_took_seconds How long.
# TYPE tapedeck_took_seconds histogram
tapedeck_took_seconds_bucket{of="z",le="2.56e-07"} 2
tapedeck_took_seconds_bucket{of="z",le="1.024e-06"} 3
tapedeck_took_seconds_bucket{of="z",le="0.0001"} 3
tapedeck_took_seconds_bucket{of="z",le="+Inf"} 4
tapedeck_took_seconds_sum{of="z"} 0.0010014
tapedeck_took_seconds_count{of="z"} 4
"#;
        assert_eq!(got, want);
    }
}
