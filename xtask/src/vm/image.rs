//! Composes the initramfs of a scenario: one archive for all its nodes, which read from the kernel's command line who
//! they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Arch;
use super::initramfs::Initramfs;
use super::kernel::Kernel;
use super::scenario::{Scenario, scenarios_folder};
use super::userland::Userland;
use crate::process::{in_path, output};

/// Modules of every guest. A trailing `?` marks those that some kernels have built in under another name or not at all.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "virtio_console",
    // Taken by name through the crypto API, hence in no list of dependencies.
    "crc32_generic?",
    "crc32c_generic?",
    "rdma_rxe",
    "ib_uverbs",
    "ib_umad?",
    "rdma_ucm?",
    "nf_tables",
    "nfnetlink",
    "nft_numgen",
    "nft_limit",
];

/// Programs of every guest.
const PROGRAMS: &[&str] = &["busybox", "dash", "ip", "rdma", "modprobe", "ibv_devinfo"];

/// What the guest's first process does. A plain shell script, so that it can be read and changed.
const INIT: &str = include_str!("init.sh");

/// Everything that goes into the archive.
pub(crate) struct Image<'a> {
    /// The kernel whose modules are taken.
    pub(crate) kernel: &'a Kernel,
    /// Where Debian's programs come from.
    pub(crate) userland: &'a Userland,
    /// What to run.
    pub(crate) scenario: &'a Scenario,
    /// Folder of our own programs, when the scenario names any.
    pub(crate) programs: Option<&'a Path>,
    /// Name in the guest and place of the unit tests that the scenario names.
    pub(crate) tests: &'a [(String, PathBuf)],
}

impl Image<'_> {
    /// Writes the archive; `scratch` is for intermediate files. Returns its size in bytes.
    pub(crate) fn write(&self, archive: &Path, scratch: &Path) -> Result<u64> {
        let mut out = Initramfs::create(archive)?;
        for (link, target) in [
            ("bin", "usr/bin"),
            ("sbin", "usr/sbin"),
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
        ] {
            out.link(link, target)?;
        }
        for folder in [
            "proc",
            "sys",
            "dev",
            "run",
            "tmp",
            "root",
            "etc",
            "usr/lib64",
            "usr/libexec/busybox",
        ] {
            out.folder(folder)?;
        }
        out.program("init", INIT.as_bytes())?;
        out.file(
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\ntcpdump:x:100:100::/:/bin/false\n",
        )?;
        out.file("etc/group", b"root:x:0:\ntcpdump:x:100:\n")?;
        out.file(
            "etc/nsswitch.conf",
            b"passwd: files\ngroup: files\nhosts: files\n",
        )?;
        out.file(
            "etc/protocols",
            b"ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n",
        )?;
        self.debian_programs(&mut out)?;
        self.own_programs(&mut out, scratch)?;
        self.modules(&mut out, scratch)?;
        self.scenario_files(&mut out)?;
        out.finish()
    }

    fn debian_programs(&self, out: &mut Initramfs) -> Result<()> {
        let userland = self.userland;
        let mut files: BTreeSet<PathBuf> = BTreeSet::new();
        for name in PROGRAMS
            .iter()
            .copied()
            .chain(self.scenario.programs.iter().map(String::as_str))
        {
            files.insert(userland.program(name)?);
        }
        // Loaded by name at run time, hence in nobody's list of needed libraries.
        files.insert(userland.libraries().join("libibverbs.so.1"));
        files.insert(userland.rxe_provider()?);
        for file in files {
            let source = userland.host_path(&file);
            out.copy(&file, &source)?;
            self.libraries(out, &source)?;
        }
        out.file("etc/libibverbs.d/rxe.driver", b"driver rxe\n")?;
        // Not busybox: its shell prefers its own applets to the programs in PATH.
        out.link("usr/bin/sh", "dash")
    }

    fn libraries(&self, out: &mut Initramfs, program: &Path) -> Result<()> {
        for library in self.userland.closure(program)? {
            out.copy(&library, &self.userland.host_path(&library))?;
        }
        Ok(())
    }

    fn own_programs(&self, out: &mut Initramfs, scratch: &Path) -> Result<()> {
        let mut programs = self.tests.to_vec();
        if let Some(folder) = self.programs {
            let place = |name: &String, folder: &Path| (name.clone(), folder.join(name));
            let examples = folder.join("examples");
            programs.extend(
                self.scenario
                    .binaries
                    .iter()
                    .map(|name| place(name, folder)),
            );
            programs.extend(
                self.scenario
                    .examples
                    .iter()
                    .map(|name| place(name, &examples)),
            );
        }
        for (name, built) in programs {
            let small = scratch.join(&name);
            // Debug information would fill the guest's memory. Without binutils it does.
            let strip = if self.userland.arch() == Arch::host() {
                "strip".to_owned()
            } else {
                format!("{}-linux-gnu-strip", self.userland.arch().gnu())
            };
            let stripped = in_path(&strip)
                && Command::new(&strip)
                    .arg("--strip-debug")
                    .arg("-o")
                    .arg(&small)
                    .arg(&built)
                    .output()
                    .is_ok_and(|run| run.status.success());
            let source = if stripped { small } else { built };
            out.copy(Path::new("usr/bin").join(name), &source)?;
            self.libraries(out, &source)?;
        }
        Ok(())
    }

    /// Modules in plain form with fresh dependency tables: Debian ships them compressed and without tables.
    fn modules(&self, out: &mut Initramfs, scratch: &Path) -> Result<()> {
        let base = Path::new("usr/lib/modules").join(&self.kernel.release);
        let chosen = self.module_files()?;
        let tree = scratch.join("modules");
        let target = tree.join(&base);
        for source in &chosen {
            let relative = source.strip_prefix(&self.kernel.modules)?;
            let plain = target.join(relative).with_extension("");
            let plain = if plain.extension().is_some_and(|extension| extension == "ko") {
                plain
            } else {
                target.join(relative)
            };
            fs::create_dir_all(plain.parent().unwrap_or(&target))?;
            let content = decompress(source)?;
            fs::write(&plain, content).with_context(|| format!("write {}", plain.display()))?;
        }
        for table in [
            "modules.builtin",
            "modules.builtin.modinfo",
            "modules.order",
        ] {
            // Debian's kernels since 7.2 do not ship them; then depmod takes them as empty.
            let source = self.kernel.modules.join(table);
            let content = if source.is_file() {
                fs::read(&source).with_context(|| format!("read {}", source.display()))?
            } else {
                Vec::new()
            };
            fs::write(target.join(table), content)
                .with_context(|| format!("write {table} of {}", self.kernel.release))?;
        }
        // depmod looks below lib/modules on Debian 12, below usr/lib/modules elsewhere.
        if !tree.join("lib").exists() {
            std::os::unix::fs::symlink("usr/lib", tree.join("lib"))?;
        }
        output(
            Command::new("depmod")
                .env("PATH", path_with_sbin())
                .arg("-b")
                .arg(&tree)
                .arg(&self.kernel.release),
        )?;
        add_tree(out, &tree.join(&base), &base)
    }

    /// Paths of the wanted modules and of those they depend on.
    fn module_files(&self) -> Result<BTreeSet<PathBuf>> {
        let available = module_index(&self.kernel.modules)?;
        // Without the table a missing module may be built in: the guest will tell.
        let builtin = builtin_modules(&self.kernel.modules.join("modules.builtin"))?;
        let may_be_builtin = |name: &str| builtin.as_ref().is_none_or(|known| known.contains(name));
        let mut files = BTreeSet::new();
        let wanted = MODULES
            .iter()
            .copied()
            .chain(self.scenario.modules.iter().map(String::as_str));
        let mut open: Vec<String> = wanted.map(str::to_owned).collect();
        while let Some(wanted) = open.pop() {
            let optional = wanted.ends_with('?');
            let name = wanted.trim_end_matches('?').replace('-', "_");
            match available.get(&name) {
                Some(path) if files.insert(path.clone()) => {
                    open.extend(dependencies(&decompress(path)?));
                }
                Some(_) => {}
                None if optional || may_be_builtin(&name) => {}
                None => bail!("kernel {} has no module {name}", self.kernel.release),
            }
        }
        Ok(files)
    }

    fn scenario_files(&self, out: &mut Initramfs) -> Result<()> {
        for name in ["lib.sh", "step.sh"] {
            out.copy(
                Path::new("scenario").join(name),
                &scenarios_folder().join(name),
            )?;
        }
        add_tree(out, &self.scenario.folder(), Path::new("scenario/files"))?;
        let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for (number, node) in self.scenario.nodes.iter().enumerate() {
            let folder = Path::new("scenario/nodes").join(number.to_string());
            out.file(
                folder.join("environment"),
                self.scenario.environment(node).as_bytes(),
            )?;
            out.file(
                folder.join("address"),
                format!("{}/24\n", node.address).as_bytes(),
            )?;
            writeln!(hosts, "{} {}", node.address, node.name)?;
        }
        out.file("etc/hosts", hosts.as_bytes())
    }
}

/// The names in a `modules.builtin` table; `None` where the kernel's package has no such table.
fn builtin_modules(table: &Path) -> Result<Option<BTreeSet<String>>> {
    match fs::read_to_string(table) {
        Ok(text) => Ok(Some(
            text.lines()
                .map(|line| module_name(Path::new(line)))
                .collect(),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", table.display())),
    }
}

fn path_with_sbin() -> String {
    format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    )
}

fn add_tree(out: &mut Initramfs, source: &Path, target: &Path) -> Result<()> {
    for entry in fs::read_dir(source).with_context(|| format!("read {}", source.display()))? {
        let entry = entry?;
        let to = target.join(entry.file_name());
        if entry.path().is_dir() {
            add_tree(out, &entry.path(), &to)?;
        } else {
            out.copy(to, &entry.path())?;
        }
    }
    Ok(())
}

/// `…/virtio-net.ko.xz` is the module `virtio_net`.
fn module_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split(".ko")
        .next()
        .unwrap_or_default()
        .replace('-', "_")
}

fn module_index(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut index = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().contains(".ko") {
                index.insert(module_name(&path), path);
            }
        }
    }
    Ok(index)
}

fn decompress(module: &Path) -> Result<Vec<u8>> {
    let program = match module.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(module).with_context(|| format!("read {}", module.display())),
    };
    let run = Command::new(program)
        .arg("-dc")
        .arg(module)
        .output()
        .with_context(|| format!("run {program} (package {program}-utils or {program})"))?;
    if !run.status.success() {
        bail!(
            "{program} -dc {}: {}",
            module.display(),
            String::from_utf8_lossy(&run.stderr)
        );
    }
    Ok(run.stdout)
}

/// The `depends=` entry of a module's information section, which holds NUL-terminated `key=value` strings.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[at + KEY.len()..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_from_the_information_section() {
        let module = b"\x7fELF..license=GPL\0depends=ib_core,udp_tunnel\0name=rdma_rxe\0";
        assert_eq!(dependencies(module), ["ib_core", "udp_tunnel"]);
        assert_eq!(dependencies(b"x\0depends=\0"), Vec::<String>::new());
        assert_eq!(dependencies(b""), Vec::<String>::new());
    }

    #[test]
    fn module_names_have_no_dashes_and_no_suffix() {
        assert_eq!(
            module_name(Path::new("kernel/net/virtio-net.ko.xz")),
            "virtio_net"
        );
        assert_eq!(
            module_name(Path::new("kernel/crypto/crc32_generic.ko")),
            "crc32_generic"
        );
    }
}
