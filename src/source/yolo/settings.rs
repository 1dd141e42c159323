//! What names the classes and splits of a tree: `data.yaml`, `obj.data`, lists of names.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::rows::Pose;
use super::{LARGEST, is_yaml};
use crate::error::{Error, Result};
use crate::source::walk::Files;
use crate::source::{Tree, labels};

/// What names classes and splits.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Where it stands, for messages and for paths that are relative to it.
    pub name: String,
    pub names: Option<Vec<String>>,
    /// The splits with the paths of their pictures, folders or lists.
    pub splits: Vec<(String, Vec<String>)>,
    /// The folder that these are relative to.
    pub path: Option<String>,
    /// The keypoints of every row, if it is of poses.
    pub pose: Option<Pose>,
    /// What is said of keypoints, by class.
    pub details: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<String>),
    Map(BTreeMap<u32, String>),
}

#[derive(Deserialize)]
struct Yaml {
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    train: Option<Paths>,
    #[serde(default, alias = "validation")]
    val: Option<Paths>,
    #[serde(default)]
    test: Option<Paths>,
    #[serde(default)]
    names: Option<Names>,
    #[serde(default)]
    nc: Option<u32>,
    /// Of poses: how many keypoints a row has, and numbers of each.
    #[serde(default)]
    kpt_shape: Option<Vec<usize>>,
    /// Which keypoint each one is in a mirrored picture.
    #[serde(default)]
    flip_idx: Option<Vec<usize>>,
    /// The names of keypoints, by class.
    #[serde(default)]
    kpt_names: Option<BTreeMap<u32, Vec<String>>>,
}

/// Keypoints of an object at the most, and numbers that are kept of all classes.
const POINTS: usize = 1024;
const TOLD: usize = 1 << 20;

impl Yaml {
    fn pose(&self) -> Result<Option<Pose>, String> {
        let pose = match self.kpt_shape.as_deref() {
            // As Ultralytics has it where there are none.
            None | Some([] | [0, 0]) => return Ok(None),
            Some(&[points @ 1..=POINTS, dims @ 2..=3]) => Pose { points, dims },
            Some(other) => {
                return Err(format!(
                    "kpt_shape is {other:?}: it is how many keypoints an object has, and 2 (x, y) or 3 (x, y, visible)"
                ));
            }
        };
        if let Some(flip) = self.flip_idx.as_ref().filter(|flip| {
            let mut sorted = (*flip).clone();
            sorted.sort_unstable();
            !sorted.iter().copied().eq(0..pose.points)
        }) {
            return Err(format!("flip_idx is {flip:?}: it has each of the {} keypoints once", pose.points));
        }
        Ok(Some(pose))
    }

    /// What is said of keypoints beside each class, in COCO's words where it has some.
    fn details(&self, pose: Option<Pose>, names: &[String]) -> Result<BTreeMap<String, serde_json::Value>, String> {
        let Some(Pose { points, dims }) = pose else { return Ok(BTreeMap::new()) };
        if names.len().saturating_mul(points) > TOLD {
            return Err(format!("{} classes of {points} keypoints are too many", names.len()));
        }
        let of = |(class, name): (u32, &String)| {
            let mut said = serde_json::Map::new();
            said.insert("kpt_shape".into(), [points, dims].to_vec().into());
            if let Some(flip) = &self.flip_idx {
                said.insert("flip_idx".into(), flip.clone().into());
            }
            if let Some(names) = self.kpt_names.as_ref().and_then(|all| all.get(&class)) {
                said.insert("keypoints".into(), names.clone().into());
            }
            (name.clone(), said.into())
        };
        Ok((0..).zip(names).map(of).collect())
    }
}

impl Settings {
    pub(super) fn has_splits(&self) -> bool {
        !self.splits.is_empty()
    }

    pub(super) fn yaml(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not UTF-8: {e}"))?;
        // The parser has a budget of its own for aliases and depth.
        let yaml: Yaml = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        let pose = yaml.pose()?;
        let names = match &yaml.names {
            Some(Names::List(names)) => names.clone(),
            // As Ultralytics calls them.
            None => match yaml.nc {
                Some(nc) if nc <= 1 << 20 => (0..nc).map(|n| format!("class_{n}")).collect(),
                _ => return Err("it has neither names nor nc".into()),
            },
            Some(Names::Map(map)) => {
                // Numbers in between that nobody named are called by themselves.
                let count = map.keys().last().map_or(0, |last| u64::from(*last) + 1);
                if count > 1 << 20 {
                    return Err(format!("a class has the number {}", count - 1));
                }
                (0..count as u32).map(|n| map.get(&n).cloned().unwrap_or_else(|| n.to_string())).collect()
            }
        };
        if let Some(nc) = yaml.nc.filter(|nc| *nc as usize != names.len()) {
            return Err(format!("nc is {nc}, and there are {} names", names.len()));
        }
        let details = yaml.details(pose, &names)?;
        let all = |paths: Paths| match paths {
            Paths::One(path) => vec![path],
            Paths::Many(paths) => paths,
        };
        let splits = [("train", yaml.train), ("validation", yaml.val), ("test", yaml.test)];
        let splits = splits.into_iter().filter_map(|(split, paths)| Some((split.to_owned(), all(paths?)))).collect();
        Ok(Settings { name: String::new(), names: Some(names), splits, path: yaml.path, pose, details })
    }

    /// The settings of a root.
    pub(super) fn find(tree: &Tree, root: &Path, files: &Files) -> Result<Self> {
        let wrong = |name: &str, what: String| {
            Error::config(
                format!("{name}: {what}"),
                "it says train, val and names, as for Ultralytics: names is a list or a map of all classes",
            )
        };
        if tree.is_file(root) {
            let name = root.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            let bytes = tree.read(root, LARGEST).map_err(|e| Error::io(root, "read", e))?;
            return Ok(Settings { name: name.clone(), ..Self::yaml(&bytes).map_err(|what| wrong(&name, what))? });
        }
        let text = |at: usize| -> Result<(String, String)> {
            let found = files.get(at);
            if found.bytes > LARGEST {
                return Err(wrong(&found.relative, format!("{} bytes are too many", found.bytes)));
            }
            let bytes = tree.read(&found.path, LARGEST).map_err(|e| Error::io(&found.path, "read", e))?;
            Ok((found.relative, String::from_utf8_lossy(&bytes).into_owned()))
        };
        let mut bad = None;
        for at in
            (0..files.len()).filter(|at| is_yaml(&files.get(*at).relative) && !files.get(*at).relative.contains('/'))
        {
            let (name, text) = text(at)?;
            match Self::yaml(text.as_bytes()) {
                Ok(settings) => return Ok(Settings { name, ..settings }),
                Err(what) => bad = Some(wrong(&name, what)),
            }
        }
        if let Some(error) = bad {
            return Err(error);
        }
        let mut settings = Settings::default();
        let mut names = vec!["obj.names".to_owned(), "classes.txt".to_owned(), "labels/classes.txt".to_owned()];
        if let Some(at) = files.find("obj.data") {
            let (name, text) = text(at)?;
            settings.name = name;
            for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
                let value = value.trim().to_owned();
                match (key.trim(), labels::split_of(key.trim())) {
                    ("names", _) => names.insert(0, place_of(&value)),
                    (_, Some(split)) => settings.splits.push((split.to_owned(), vec![value])),
                    _ => {}
                }
            }
        }
        if let Some(at) = names.iter().find_map(|name| files.find(name)) {
            let (_, text) = text(at)?;
            // A class is the number of its line: one without a name is called by that.
            let lines = text.trim_end().lines().map(|line| line.trim_start_matches('\u{feff}').trim()).enumerate();
            let name = |(n, line): (usize, &str)| if line.is_empty() { n.to_string() } else { line.to_owned() };
            settings.names = Some(lines.map(name).collect());
        }
        Ok(settings)
    }
}

/// A path of Darknet's within its folder: `data/` is where that stands for the program.
fn place_of(path: &str) -> String {
    let path = path.replace('\\', "/");
    path.trim_start_matches("./").trim_start_matches("data/").to_owned()
}
