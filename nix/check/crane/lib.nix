# crane's functions with the arguments that lib/*.nix of the locked revision take, and the cargo command lines that they
# make of them (`checker.commands`), which cargo xtask flake runs.
pkgs:
let
  inherit (pkgs) lib;
  inherit (pkgs.checker) fake onlyArguments;

  # Attributes that crane hands to stdenv.mkDerivation.
  derivationArguments = [
    "__darwinAllowLocalNetworking"
    "buildInputs"
    "cargoArtifacts"
    "cargoExtraArgs"
    "cargoVendorDir"
    "disallowedRequisites"
    "doCheck"
    "doInstallCargoArtifacts"
    "env"
    "installPhaseCommand"
    "meta"
    "nativeBuildInputs"
    "passthru"
    "pname"
    "postFixup"
    "postInstall"
    "preBuild"
    "src"
    "strictDeps"
    "version"
  ];

  make =
    function: own: toolchain: commands: arguments:
    let
      checked = onlyArguments "crane's ${function}" (derivationArguments ++ own) arguments;
      env = lib.mapAttrs (
        name: value:
        if builtins.isString value then
          value
        else
          throw "crane's ${function}: env.${name} has to be a string"
      ) (checked.env or { });
      self = fake {
        name = "${checked.pname}-${checked.version}";
        inherit (checked) pname;
        inputs = [
          toolchain.outPath
          (builtins.toJSON env)
          "${checked.src}"
        ]
        ++ map builtins.toJSON commands
        ++ checked.nativeBuildInputs or [ ]
        ++ checked.disallowedRequisites or [ ]
        ++ [
          (checked.postFixup or "")
          (checked.installPhaseCommand or "")
          (checked.preBuild or "")
          (checked.cargoArtifacts or "")
          (checked.cargoVendorDir or "")
        ];
        meta = checked.meta or { };
        passthru = (checked.passthru or { }) // {
          checker = {
            inherit commands env function;
            source = "${checked.src}";
          };
        };
      };
    in
    self;

  self =
    toolchain:
    let
      extra = arguments: arguments.cargoExtraArgs or "--locked";
      cargo =
        function: own: commands: arguments:
        make function own toolchain (commands arguments) arguments;
    in
    {
      overrideToolchain = change: self (if builtins.isFunction change then change pkgs else change);

      buildDepsOnly = cargo "buildDepsOnly" [ "cargoTestExtraArgs" "extraDummyScript" ] (arguments: [
        "cargo check --release ${extra arguments} --all-targets"
        "cargo build --release ${extra arguments}"
      ]);
      buildPackage = cargo "buildPackage" [ "cargoBuildCommand" "cargoTestExtraArgs" ] (arguments: [
        "${arguments.cargoBuildCommand or "cargo build --release"} ${extra arguments}"
      ]);
      cargoClippy = cargo "cargoClippy" [ "cargoClippyExtraArgs" ] (arguments: [
        "cargo clippy --release ${extra arguments} ${arguments.cargoClippyExtraArgs or "--all-targets"}"
      ]);
      cargoDeny = cargo "cargoDeny" [ "cargoDenyExtraArgs" "cargoDenyChecks" ] (arguments: [
        "cargo --offline ${arguments.cargoExtraArgs or ""} deny ${
          arguments.cargoDenyExtraArgs or ""
        } check ${arguments.cargoDenyChecks or "bans licenses sources"}"
      ]);
      cargoDoc = cargo "cargoDoc" [ "cargoDocExtraArgs" ] (arguments: [
        "cargo doc --release ${extra arguments} ${arguments.cargoDocExtraArgs or "--no-deps"}"
      ]);
      cargoFmt = cargo "cargoFmt" [ "rustFmtExtraArgs" ] (arguments: [
        "cargo fmt ${arguments.cargoExtraArgs or ""} -- --check ${arguments.rustFmtExtraArgs or ""}"
      ]);
      cargoNextest =
        cargo "cargoNextest" [ "cargoNextestExtraArgs" "partitions" "partitionType" ]
          (arguments: [
            "cargo nextest run --cargo-profile release ${arguments.cargoExtraArgs or ""} ${
              arguments.cargoNextestExtraArgs or ""
            }"
          ]);
      mkCargoDerivation =
        arguments:
        make "mkCargoDerivation" [ "buildPhaseCargoCommand" "checkPhaseCargoCommand" ] toolchain
          [
            arguments.buildPhaseCargoCommand
          ]
          (
            if arguments ? cargoArtifacts then
              arguments
            else
              throw "crane's mkCargoDerivation: cargoArtifacts is missing"
          );
      vendorMultipleCargoDeps =
        arguments:
        let
          inherit (onlyArguments "crane's vendorMultipleCargoDeps" [ "cargoLockList" ] arguments)
            cargoLockList
            ;
        in
        fake {
          name = "vendor-cargo-deps";
          inputs = map (file: builtins.toJSON (fromTOML (builtins.readFile file)).version) cargoLockList;
        };
      devShell = pkgs.mkShell;
    };
in
self null
