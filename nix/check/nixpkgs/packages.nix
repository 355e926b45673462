# Packages of nixpkgs that the flake names, each seen in the file behind it.
[
  "bpf-linker" # pkgs/by-name/bp/bpf-linker/package.nix, its argument llvmPackagesForLinker too
  "bubblewrap" # pkgs/by-name/bu/bubblewrap
  "busybox" # pkgs/os-specific/linux/busybox
  "cargo-deb" # pkgs/by-name/ca/cargo-deb
  "cargo-deny" # pkgs/by-name/ca/cargo-deny
  "cargo-insta" # pkgs/by-name/ca/cargo-insta
  "cargo-nextest" # pkgs/by-name/ca/cargo-nextest
  "cargo-zigbuild" # pkgs/by-name/ca/cargo-zigbuild
  "curl" # pkgs/by-name/cu/curlMinimal, all-packages.nix
  "deadnix" # pkgs/by-name/de/deadnix
  "diffutils" # pkgs/by-name/di/diffutils
  "installShellFiles" # pkgs/by-name/in/installShellFiles
  "iproute2" # pkgs/by-name/ip/iproute2
  "jq" # pkgs/by-name/jq/jq
  "kmod" # nixos/modules/system/boot/modprobe.nix takes it
  "llvmPackages_22" # pkgs/top-level/all-packages.nix
  "mypy" # pkgs/top-level/all-packages.nix
  "nftables" # pkgs/by-name/nf/nftables
  "nixfmt" # pkgs/by-name/ni/nixfmt
  "nixfmt-tree" # pkgs/by-name/ni/nixfmt-tree
  "python3" # pkgs/top-level/all-packages.nix
  "qemu" # pkgs/by-name/qe/qemu
  "rdma-core" # pkgs/by-name/rd/rdma-core
  "systemd" # pkgs/os-specific/linux/systemd
  "tcpdump" # pkgs/by-name/tc/tcpdump
  "util-linux" # pkgs/by-name/ut/util-linux
  "wireshark-cli" # pkgs/top-level/all-packages.nix
  "zig" # pkgs/top-level/all-packages.nix
]
