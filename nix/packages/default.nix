# The attributes of `packages.<system>`.
{
  lib,
  pkgs,
  # The flake: on macOS Linux programs are the packages of a Linux system.
  self,
}:
let
  inherit (pkgs.stdenv.hostPlatform) isLinux system;
  scope = pkgs.rpingmesh;

  # Agents for Linux. On Linux native or cross-compiled; on macOS the derivation of the Linux system with the same
  # processor, so that a Linux builder does the work instead of a toolchain from macOS to Linux.
  linuxAgents =
    lib.mapAttrs'
      (arch: cross: {
        name = "agent-${arch}-linux";
        value =
          if system == "${arch}-linux" then
            scope.agent
          else if isLinux then
            pkgs.pkgsCross.${cross}.rpingmesh.agent
          else
            self.packages."${arch}-linux".agent;
      })
      {
        x86_64 = "gnu64";
        aarch64 = "aarch64-multiplatform";
      };
in
{
  default = scope.all;
  inherit (scope)
    agent
    controller
    analyzer
    cli
    ebpf-bpfel-x86_64
    ebpf-bpfel-aarch64
    ;
}
// linuxAgents
// lib.optionalAttrs isLinux {
  inherit (scope)
    image-agent
    image-controller
    image-analyzer
    macos-stub
    ;
}
