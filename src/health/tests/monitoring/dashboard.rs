//! The Grafana dashboard, made of `dashboard.yaml`: what is the same in every panel of a kind stands here once.
//!
//! `AZAION_WRITE_DOCS=1 cargo test -p health --test monitoring` writes docs/monitoring/azaion-dashboard.json, a panel a line.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

const SOURCE: &str = include_str!("dashboard.yaml");
const COLUMNS: u64 = 24;
const INSTANCE: &str = r#"{instance=~"$instance"}"#;

#[derive(Deserialize)]
struct Row {
    row: String,
    panels: Vec<Panel>,
}

/// As Grafana calls them.
#[derive(Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Stat,
    StateTimeline,
    Table,
    Timeseries,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    kind: Kind,
    title: String,
    /// Columns and rows.
    size: [u64; 2],
    #[serde(default = "short")]
    unit: String,
    max: Option<u64>,
    decimals: Option<u64>,
    about: String,
    /// What each line is called, and its expression.
    of: Vec<[String; 2]>,
    #[serde(default)]
    steps: Vec<(Option<f64>, String)>,
    /// Words and colours of 0, 1, 2, ...
    #[serde(default)]
    values: Vec<[String; 2]>,
    none: Option<String>,
}

fn short() -> String {
    "short".to_owned()
}

/// The file's text.
pub fn text() -> String {
    let rows: Vec<Row> = serde_saphyr::from_str(SOURCE).unwrap();
    let lines: Vec<String> = panels(&rows).iter().map(Value::to_string).collect();
    let mut text = String::from("{\n");
    for (key, value) in head().as_object().unwrap() {
        text += &format!("{}: {value},\n", json!(key));
    }
    text + "\"panels\": [\n" + &lines.join(",\n") + "\n]\n}\n"
}

fn head() -> Value {
    json!({
        "title": "azaion", "uid": "azaion",
        "description": "Queue, training, GPU, disk, units, alerts and backups of azaion's machines.",
        "tags": ["azaion"], "schemaVersion": 41, "version": 1, "editable": true, "graphTooltip": 1, "refresh": "1m",
        "timezone": "browser", "time": {"from": "now-24h", "to": "now"}, "annotations": {"list": []}, "links": [],
        "templating": {"list": [
            {
                "name": "DS_PROMETHEUS", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {},
                "hide": 0, "refresh": 1, "regex": "", "multi": false, "includeAll": false, "options": []
            },
            {
                "name": "instance", "label": "Machine", "type": "query", "datasource": source(),
                "query": {"query": "label_values(health_updated_timestamp_seconds, instance)", "refId": "instance"},
                "definition": "label_values(health_updated_timestamp_seconds, instance)", "refresh": 2, "sort": 1,
                "multi": true, "includeAll": true, "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]},
                "hide": 0, "regex": "", "options": []
            }
        ]}
    })
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${DS_PROMETHEUS}"})
}

/// All panels, each beneath its row, from left to right.
fn panels(rows: &[Row]) -> Vec<Value> {
    let mut panels = Vec::new();
    let mut y = 0;
    for row in rows {
        panels.push(json!({
            "id": panels.len() + 1, "type": "row", "title": row.row, "collapsed": false,
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y}, "panels": [],
        }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in &row.panels {
            let [w, h] = panel.size;
            if x + w > COLUMNS {
                (x, y, height) = (0, y + height, 0);
            }
            let place = json!({"h": h, "w": w, "x": x, "y": y});
            panels.push(panel.value(panels.len() + 1, &place));
            (x, height) = (x + w, height.max(h));
        }
        y += height;
    }
    panels
}

impl Panel {
    fn value(&self, id: usize, place: &Value) -> Value {
        let mut panel = json!({
            "id": id, "type": self.kind, "title": self.title, "description": self.about, "datasource": source(),
            "gridPos": place, "targets": self.targets(),
            "fieldConfig": {"defaults": self.defaults(), "overrides": []}, "options": self.options(),
        });
        if self.kind == Kind::Table {
            panel["transformations"] = json!([{"id": "organize", "options": {
                "excludeByName": {"Time": true, "__name__": true, "job": true},
                "indexByName": {"severity": 0, "code": 1, "title": 2, "instance": 3, "Value": 4},
                "renameByName": {"Value": "how many"},
            }}]);
        }
        panel
    }

    fn targets(&self) -> Vec<Value> {
        let names = ["A", "B", "C"];
        let of = self.of.iter().zip(names);
        of.map(|([called, shows], name)| {
            let mut target = json!({
                "datasource": source(), "expr": shows.replace("$I", INSTANCE), "legendFormat": called, "refId": name,
            });
            if [Kind::Stat, Kind::Table].contains(&self.kind) {
                target["instant"] = true.into();
                target["range"] = false.into();
            }
            if self.kind == Kind::Table {
                target["format"] = "table".into();
            }
            target
        })
        .collect()
    }

    fn defaults(&self) -> Map<String, Value> {
        let by_steps = [Kind::Stat, Kind::StateTimeline].contains(&self.kind);
        let green = [(None, "green".to_owned())];
        let steps = if self.steps.is_empty() {
            &green[..]
        } else {
            &self.steps
        };
        let steps: Vec<Value> = steps
            .iter()
            .map(|(value, color)| json!({"color": color, "value": value}))
            .collect();
        let words: Map<String, Value> = (0_u32..)
            .zip(&self.values)
            .map(|(value, [text, color])| {
                (
                    value.to_string(),
                    json!({"text": text, "color": color, "index": value}),
                )
            })
            .collect();
        let mut defaults = Map::from_iter([
            ("unit".to_owned(), json!(self.unit)),
            (
                "color".to_owned(),
                json!({"mode": if by_steps { "thresholds" } else { "palette-classic" }}),
            ),
            (
                "thresholds".to_owned(),
                json!({"mode": "absolute", "steps": steps}),
            ),
            (
                "mappings".to_owned(),
                if words.is_empty() {
                    json!([])
                } else {
                    json!([{"type": "value", "options": words}])
                },
            ),
        ]);
        let more = [
            ("min", (self.kind == Kind::Timeseries).then(|| json!(0))),
            ("max", self.max.map(Value::from)),
            ("decimals", self.decimals.map(Value::from)),
            ("noValue", self.none.clone().map(Value::from)),
            ("custom", self.custom()),
        ];
        defaults.extend(
            more.into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?))),
        );
        defaults
    }

    fn custom(&self) -> Option<Value> {
        let limits = if self.steps.is_empty() { "off" } else { "dashed" };
        match self.kind {
            Kind::Timeseries => Some(json!({
                "drawStyle": "line", "lineWidth": 2, "fillOpacity": 8, "showPoints": "never", "spanNulls": false,
                "thresholdsStyle": {"mode": limits},
            })),
            Kind::StateTimeline => Some(json!({"fillOpacity": 80, "lineWidth": 0})),
            Kind::Stat | Kind::Table => None,
        }
    }

    fn options(&self) -> Value {
        let legend = json!({"displayMode": "list", "placement": "bottom", "showLegend": true});
        match self.kind {
            Kind::Stat => json!({
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false}, "colorMode": "background",
                "graphMode": "none", "textMode": "auto", "orientation": "auto", "justifyMode": "auto",
            }),
            Kind::Table => json!({"showHeader": true, "cellHeight": "sm"}),
            Kind::StateTimeline => json!({
                "showValue": "never", "mergeValues": true, "rowHeight": 0.85, "legend": legend,
                "tooltip": {"mode": "single", "sort": "none"},
            }),
            Kind::Timeseries => json!({"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}),
        }
    }
}
