# `import nixpkgs { … }`: packages that are names only, with the functions that the flake calls on them.
{
  system,
  overlays ? [ ],
  config ? { },
  # The host system of a cross compilation.
  cross ? null,
}:
let
  lib = import ./lib.nix;
  host = if cross == null then system else cross;

  # A derivation that is never built. `checker` is what cargo xtask flake looks at.
  fake =
    {
      name,
      inputs ? [ ],
      meta ? { },
      passthru ? { },
      ...
    }@arguments:
    let
      drv = derivation {
        inherit name system;
        builder = "/bin/false";
        # Evaluates all inputs, as the real derivation would.
        inputs = map toString inputs;
      };
      self =
        drv
        // passthru
        // {
          inherit meta;
          pname = arguments.pname or name;
          override = {
            __functor = _: _changes: self;
            __functionArgs = arguments.functionArgs or { };
          };
          overrideAttrs = change: fake (arguments // change arguments);
        };
    in
    self;

  platform =
    name:
    let
      parts = builtins.match "(.*)-(.*)" name;
      kernel = builtins.elemAt parts 1;
    in
    {
      system = name;
      isLinux = kernel == "linux";
      isDarwin = kernel == "darwin";
      parsed.cpu.name = builtins.head parts;
      canExecute = other: other.system == name;
    };

  named = lib.genAttrs (import ./packages.nix) (
    name:
    fake {
      inherit name;
      functionArgs =
        {
          bpf-linker.llvmPackagesForLinker = true;
        }
        .${name} or { };
      # pkgs/development/compilers/llvm/common: the set's package with LLVM's programs.
      passthru = lib.optionalAttrs (name == "llvmPackages_22") { llvm = fake { name = "llvm-22"; }; };
    }
  );

  onlyArguments =
    function: known: arguments:
    let
      surplus = builtins.attrNames (removeAttrs arguments known);
    in
    if surplus == [ ] then
      arguments
    else
      throw "${function}: ${toString surplus} is no argument that was verified (nix/check/README.md)";

  base =
    self:
    named
    // {
      inherit lib;
      stdenv = {
        buildPlatform = platform system;
        hostPlatform = platform host;
      };
      pkgs = self;
      newScope = extra: lib.callPackageWith (self // extra);
      callPackage = self.newScope { };
      buildPackages = if cross == null then self else import ./. { inherit system overlays; };
      pkgsCross = {
        gnu64 = import ./. {
          inherit system overlays;
          cross = "x86_64-linux";
        };
        aarch64-multiplatform = import ./. {
          inherit system overlays;
          cross = "aarch64-linux";
        };
      };
      checker = { inherit fake onlyArguments; };

      runCommand =
        name: attributes: script:
        fake {
          inherit name;
          inputs = [ script ] ++ attributes.nativeBuildInputs or [ ];
        };
      writeShellScriptBin =
        name: text:
        fake {
          inherit name;
          inputs = [ text ];
          meta.mainProgram = name;
        };
      symlinkJoin =
        arguments:
        let
          checked = onlyArguments "symlinkJoin" [ "name" "paths" "meta" ] arguments;
        in
        fake {
          inherit (checked) name;
          inputs = checked.paths;
          meta = checked.meta or { };
        };
      dockerTools.buildLayeredImage =
        arguments:
        let
          checked = onlyArguments "dockerTools.buildLayeredImage" [
            "name"
            "tag"
            "contents"
            "config"
          ] arguments;
        in
        fake {
          name = baseNameOf checked.name;
          inputs = [ (builtins.toJSON checked.config) ] ++ checked.contents or [ ];
          # For comparison with deploy/.
          passthru.checker.image = {
            inherit (checked) name tag;
            inherit (onlyArguments "an image's config" [ "Cmd" "Entrypoint" "User" ] checked.config)
              Cmd
              Entrypoint
              ;
            User = checked.config.User or null;
          };
        };
      mkShell =
        arguments:
        fake {
          name = "shell";
          inputs = arguments.packages ++ builtins.attrValues (removeAttrs arguments [ "packages" ]);
          # For comparison with what cargo xtask calls.
          passthru.checker.shell = {
            packages = map (package: package.pname) arguments.packages;
            variables = removeAttrs arguments [ "packages" ];
          };
        };
      formats.toml = _: {
        type =
          let
            inherit (lib) types;
            value = types.oneOf [
              types.bool
              types.number
              types.str
              (types.listOf types.anything)
              (types.attrsOf value)
            ];
          in
          types.attrsOf value;
        # The value is kept, for check-config to see.
        generate =
          name: value:
          fake {
            inherit name;
            inputs = [ (builtins.toJSON value) ];
            passthru.checker = { inherit value; };
          };
      };
      testers.runNixOSTest = import ./test.nix {
        inherit lib onlyArguments fake;
        guest = import ./. {
          inherit overlays;
          system = builtins.replaceStrings [ "darwin" ] [ "linux" ] host;
        };
      };
    };
in
# pkgs/top-level/default.nix, lib/systems: what the release does with an Intel Mac is in nix/check/next.
assert onlyArguments "nixpkgs' config" [ "allowDeprecatedx86_64Darwin" ] config == config;
lib.fix (
  self: builtins.foldl' (previous: overlay: previous // overlay self previous) (base self) overlays
)
