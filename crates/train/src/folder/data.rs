//! Identifies the data of a run.

use dyconv_data::{Dataset, Split};
use dyconv_task::Skeleton;
use serde::{Deserialize, Serialize};

/// Identifies a data set by names and labels, not by pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Data {
    /// The spec that was given when the run started.
    pub spec: String,
    classes: Vec<String>,
    /// The skeleton of persons; `None` if the items are images with classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skeleton: Option<Skeleton>,
    train: usize,
    val: usize,
    /// CRC-32C of every item's label and name, in order.
    items: u32,
}

impl Data {
    pub fn of(spec: &str, dataset: &Dataset) -> Self {
        let items = (0..dataset.len(Split::All)).fold(0, |crc, i| {
            let (label, name) = dataset.item(Split::All, i);
            let joints =
                dataset.person(Split::All, i).map_or(String::new(), |p| format!(" {:?} {:?}", p.bbox, p.joints));
            crc32c::crc32c_append(crc, format!("{label} {name}{joints}\n").as_bytes())
        });
        Self {
            spec: spec.to_owned(),
            classes: dataset.classes().to_vec(),
            skeleton: dataset.people().map(|people| people.skeleton.clone()),
            train: dataset.len(Split::Train),
            val: dataset.len(Split::Val),
            items,
        }
    }

    /// Whether the items are persons with joints.
    pub(crate) fn of_keypoints(&self) -> bool {
        self.skeleton.is_some()
    }

    /// Describes the first difference. The spec is ignored: data may move.
    pub(crate) fn difference(&self, now: &Self) -> Option<String> {
        let joints = |data: &Self| data.skeleton.as_ref().map_or(0, |s| s.joints.len());
        if joints(self) != joints(now) {
            return Some(format!("{} joints then, {} now", joints(self), joints(now)));
        }
        if self.skeleton != now.skeleton {
            return Some("as many joints, but with other names, pairs or sigmas".to_owned());
        }
        if self.classes.len() != now.classes.len() {
            return Some(format!("{} classes then, {} now", self.classes.len(), now.classes.len()));
        }
        if let Some((a, b)) = self.classes.iter().zip(&now.classes).find(|(a, b)| a != b) {
            return Some(format!("a class was called `{a}`, now `{b}`"));
        }
        if (self.train, self.val) != (now.train, now.val) {
            let (a, b) = ((self.train, self.val), (now.train, now.val));
            let items = if self.skeleton.is_some() { "persons" } else { "images" };
            return Some(format!("{} + {} {items} then (train + val), {} + {} now", a.0, a.1, b.0, b.1));
        }
        (self.items != now.items).then(|| "as many images, but with other names or labels".to_owned())
    }
}
