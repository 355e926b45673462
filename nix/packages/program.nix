# One program of the root package, for the system it is built on, for another Linux (pkgsCross), or for macOS.
{
  cargoArtifacts,
  common,
  craneLib,
  installShellFiles,
  lib,
  rdma-core,
  sources,
  stdenv,
  name,
  description ? "${name}, a program of rpingmesh",
  env ? { },
  postFixup ? "",
  # Only the agent knows libibverbs; the closure of no other program may contain it.
  withoutVerbs ? stdenv.hostPlatform.isLinux,
}:
craneLib.buildPackage {
  pname = name;
  inherit (common) version;
  inherit cargoArtifacts env postFixup;
  src = sources.programs;
  strictDeps = true;
  nativeBuildInputs = [ installShellFiles ];
  # Man pages and completions are made by the program itself, where it runs on the machine that builds it.
  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/${name} manual man man-pages
    installManPage man-pages/*.1
    installShellCompletion --cmd ${name} \
      --bash <($out/bin/${name} manual completions bash) \
      --fish <($out/bin/${name} manual completions fish) \
      --zsh <($out/bin/${name} manual completions zsh)
  '';
  cargoExtraArgs = "--locked --package rpingmesh --bin ${name}";
  # The tests are a check of their own: see checks.nix.
  doCheck = false;
  disallowedRequisites = lib.optionals withoutVerbs [ rdma-core ];
  meta = {
    inherit description;
    mainProgram = name;
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    platforms = lib.platforms.linux ++ lib.platforms.darwin;
  };
}
