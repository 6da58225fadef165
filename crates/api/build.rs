//! The services' Rust from the .proto files, without protoc, and their descriptors for reflection.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

const FILES: [&str; 4] = ["kubearmor.proto", "policy.proto", "state.proto", "palisade.proto"];
/// The packages whose messages are shown as JSON.
const SHOWN: [&str; 2] = ["feeder", "palisade.v1"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut builder = tonic_prost_build::configure().btree_map(".").bytes(".");
    for (path, rename) in json_names(&descriptors) {
        builder = match rename {
            None => builder.type_attribute(path, "#[derive(serde::Serialize)]"),
            Some(name) => {
                let attribute = format!("#[serde(rename = {name:?}, skip_serializing_if = \"crate::is_default\")]");
                builder.field_attribute(path, attribute)
            }
        };
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}

/// The messages that are shown as JSON, and of each field its name there: the one of the .proto file. What is empty or 0 is
/// left out, as by KubeArmor's own encoder.
fn json_names(descriptors: &FileDescriptorSet) -> Vec<(String, Option<String>)> {
    let mut names = Vec::new();
    for file in descriptors.file.iter().filter(|file| SHOWN.contains(&file.package())) {
        for message in &file.message_type {
            let path = format!(".{}.{}", file.package(), message.name());
            names.extend(fields(&path, message));
            names.push((path, None));
        }
    }
    names
}

fn fields(path: &str, message: &DescriptorProto) -> Vec<(String, Option<String>)> {
    let of = |name: &str| (format!("{path}.{name}"), Some(name.to_owned()));
    message.field.iter().map(|field| of(field.name())).collect()
}
