//! Puts the built dashboard where it is embedded from. Without one (there is no node, or nobody has
//! built it) a plain page says how to build it, so that the program builds all the same.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

const DIST: &str = "dashboard/dist";
const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>Faultline</title></head>
<body>
<h1>Faultline runs, without its dashboard</h1>
<p>It was built without one. With node and npm, this builds it in:</p>
<pre>cd dashboard &amp;&amp; npm ci &amp;&amp; npm run build &amp;&amp; cd .. &amp;&amp; cargo build --release</pre>
<p>or <code>scripts/start</code>, which does all of that. The API is there:
<a href=\"/api/openapi.json\">/api/openapi.json</a>, <a href=\"/metrics\">/metrics</a>,
<a href=\"/api/health\">/api/health</a>.</p>
</body>
</html>
";

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("dashboard");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    // The directory is another one in every build, so that no source can name it.
    let code = format!(
        "#[derive(RustEmbed)]\n#[folder = {:?}]\nstruct Files;\n",
        out.display().to_string()
    );
    fs::write(out.with_extension("rs"), code)?;
    let dist = Path::new(DIST);
    if dist.join("index.html").is_file() {
        println!("cargo::rerun-if-changed={DIST}");
        return copy(dist, &out);
    }
    // Cargo runs this again and again for a path that does not exist.
    let watched = if Path::new("dashboard").is_dir() { "dashboard" } else { "build.rs" };
    println!("cargo::rerun-if-changed={watched}");
    fs::create_dir_all(&out)?;
    fs::write(out.join("index.html"), PAGE)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
