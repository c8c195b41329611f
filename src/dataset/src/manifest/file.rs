//! The bytes of `manifest.json`: written an item a line, read with everything that can be checked checked.

use std::io::{self, Write};

use annotation::Name;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    About, Counts, Division, FILE_NAME, FIRST, FORMAT, Grouping, Manifest, ManifestError, ManifestItem, Path,
    VERSION, hash, hex,
};

/// Everything but the items, in the order of the file.
#[derive(Serialize)]
struct Head<'m> {
    format: &'m str,
    version: u32,
    name: &'m str,
    created: jiff::Timestamp,
    seed: u64,
    division: Division,
    grouping: Grouping,
    earlier: &'m [String],
    counts: Counts,
    hash: &'m str,
    seal: Option<&'m str>,
}

impl Manifest {
    /// Reads the manifest in a dataset's folder and checks it against itself.
    pub fn read(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join(FILE_NAME);
        let unusable = |problem: String| ManifestError::Unusable {
            path: path.clone(),
            problem,
        };
        let bytes = std::fs::read(&path).map_err(|source| ManifestError::Read {
            path: path.clone(),
            source,
        })?;
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| unusable(why(&bytes, &error)))?;
        manifest.check().map_err(unusable)?;
        Ok(manifest)
    }

    /// Writes it as JSON, an item a line.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        let head = serde_json::to_string_pretty(&Head {
            format: &self.format,
            version: self.version,
            name: &self.name,
            created: self.created,
            seed: self.seed,
            division: self.division,
            grouping: self.grouping,
            earlier: &self.earlier,
            counts: self.counts,
            hash: &self.hash,
            seal: self.seal.as_deref(),
        })?;
        let open = head.trim_end_matches(['}', '\n']);
        write!(to, "{open},\n  \"items\": [")?;
        for (index, item) in self.items.iter().enumerate() {
            to.write_all(if index == 0 { b"\n    " } else { b",\n    " })?;
            serde_json::to_writer(&mut to, item)?;
        }
        to.write_all(b"\n  ]\n}\n")
    }

    fn check(&self) -> Result<(), String> {
        is_known(&self.format, self.version)?;
        if let Some(item) = self.items.iter().find(|item| Name::new(&item.name).is_err()) {
            return Err(format!("the item name {:?} is no safe file name", item.name));
        }
        if !self.items.is_sorted_by(|a, b| a.name < b.name) {
            return Err("its items are not sorted by name, or one is there twice".into());
        }
        let sealed = match &self.seal {
            Some(seal) => self.version > FIRST && *seal == seal_of(self),
            None => self.version == FIRST,
        };
        if self.hash != hash(&self.items) || self.counts != Counts::of(&self.items) || !sealed {
            return Err(
                "its hash, seal or counts do not fit its items: it was changed after it was written".into(),
            );
        }
        Ok(())
    }
}

fn is_known(format: &str, version: u32) -> Result<(), String> {
    if format == FORMAT && (FIRST..=VERSION).contains(&version) {
        return Ok(());
    }
    Err(format!(
        "it is `{format}` version {version}, this program reads `{FORMAT}` up to version {VERSION}"
    ))
}

/// Why these bytes are no manifest: of another version, if they say so.
fn why(bytes: &[u8], error: &serde_json::Error) -> String {
    #[derive(serde::Deserialize)]
    struct Head {
        format: String,
        version: u32,
    }
    match serde_json::from_slice(bytes) {
        Ok(Head { format, version }) => is_known(&format, version).err(),
        Err(_) => None,
    }
    .unwrap_or_else(|| error.to_string())
}

fn seal_of(manifest: &Manifest) -> String {
    seal(&manifest.about(), &manifest.items)
}

/// See [`Manifest::new`].
pub(super) fn seal(about: &About, items: &[ManifestItem]) -> String {
    let mut hash = Sha256::new();
    let mut line = Vec::with_capacity(1024);
    add(&mut hash, &mut line, about);
    for item in items {
        add(&mut hash, &mut line, item);
    }
    hex(&hash.finalize())
}

fn add(hash: &mut Sha256, line: &mut Vec<u8>, value: &impl Serialize) {
    line.clear();
    // Plain structs into memory: there is nothing that could fail.
    let _ = serde_json::to_writer(&mut *line, value);
    line.push(b'\n');
    hash.update(&*line);
}

/// A role by its name.
pub(super) mod role {
    use annotation::Role;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(role: &Option<Role>, serializer: S) -> Result<S::Ok, S::Error> {
        match role {
            Some(role) => serializer.serialize_str(role.as_str()),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Role>, D::Error> {
        let name = Option::<String>::deserialize(deserializer)?;
        name.map(|name| {
            let known = Role::ALL.into_iter().find(|role| role.as_str() == name);
            known.ok_or_else(|| Error::custom(format!("{name:?} is no role")))
        })
        .transpose()
    }
}

/// A source media by its number.
pub(super) mod media {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use store::Media;

    pub fn serialize<S: Serializer>(media: &Option<Media>, serializer: S) -> Result<S::Ok, S::Error> {
        match media {
            Some(media) => serializer.collect_str(media),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Media>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| Media::parse(&text).ok_or_else(|| Error::custom("a media is 16 hexadecimal digits")))
            .transpose()
    }
}
