# The functions of nixpkgs' lib that the flake uses, with the behaviour that their documentation gives. What is not here
# fails with "attribute … missing"; ../README.md says how to add a name.
let
  attrsets = rec {
    inherit (builtins) mapAttrs removeAttrs;
    genAttrs =
      names: f:
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    mapAttrs' = f: set: builtins.listToAttrs (map (name: f name set.${name}) (builtins.attrNames set));
    mapAttrsToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);
    nameValuePair = name: value: { inherit name value; };
    filterAttrs =
      keep: set:
      removeAttrs set (builtins.filter (name: !(keep name set.${name})) (builtins.attrNames set));
    optionalAttrs = condition: set: if condition then set else { };
    setAttrByPath =
      path: value:
      if path == [ ] then
        value
      else
        { ${builtins.head path} = setAttrByPath (builtins.tail path) value; };
    # Sets of both sides are merged, else the right side counts.
    recursiveUpdate =
      left: right:
      left
      // mapAttrs (
        name: value:
        if builtins.isAttrs value && builtins.isAttrs (left.${name} or null) then
          recursiveUpdate left.${name} value
        else
          value
      ) right;
  };

  lists = {
    inherit (builtins)
      any
      all
      concatMap
      elem
      filter
      ;
    imap1 = f: list: builtins.genList (n: f (n + 1) (builtins.elemAt list n)) (builtins.length list);
    last =
      list:
      if list == [ ] then
        throw "lib.last: the list is empty"
      else
        builtins.elemAt list (builtins.length list - 1);
    optional = condition: item: if condition then [ item ] else [ ];
    optionals = condition: list: if condition then list else [ ];
    unique = builtins.foldl' (
      seen: item: if builtins.elem item seen then seen else seen ++ [ item ]
    ) [ ];
    subtractLists = without: builtins.filter (item: !(builtins.elem item without));
  };

  numbers.max = a: b: if a > b then a else b;

  # lib/trivial.nix, lib/strings.nix. `nix/check/next` has the release after.
  versions = {
    trivial.release = "26.05";
    versionOlder = a: b: builtins.compareVersions b a == 1;
  };

  strings = rec {
    inherit (builtins) concatStringsSep replaceStrings;
    concatMapStringsSep =
      separator: f: list:
      concatStringsSep separator (map f list);
    concatMapStrings = concatMapStringsSep "";
    optionalString = condition: text: if condition then text else "";
    splitString =
      separator: text:
      builtins.filter builtins.isString (
        builtins.split (builtins.replaceStrings [ "." ] [ "\\." ] separator) text
      );
    toInt =
      text:
      let
        number = builtins.fromJSON text;
      in
      if builtins.isInt number then number else throw "lib.toInt: ${text} is no integer";
    removePrefix =
      prefix: text:
      let
        length = builtins.stringLength prefix;
      in
      if builtins.substring 0 length text == prefix then builtins.substring length (-1) text else text;
    escapeShellArg = text: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
    makeLibraryPath = packages: concatStringsSep ":" (map (package: "${package}/lib") packages);
    makeBinPath = packages: concatStringsSep ":" (map (package: "${package}/bin") packages);
  };

  files = {
    importTOML = path: fromTOML (builtins.readFile path);
    importJSON = path: builtins.fromJSON (builtins.readFile path);
    fileset = {
      unions =
        parts:
        builtins.concatMap (
          part:
          if builtins.isList part then
            part
          else if builtins.pathExists part then
            [ part ]
          else
            throw "lib.fileset.unions: ${toString part} does not exist"
        ) parts;
      # Really filters: the phases of the packages are run on the result.
      toSource =
        { root, fileset }:
        let
          wanted = map toString (if builtins.isList fileset then fileset else [ fileset ]);
          startsWith = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
          within = path: builtins.any (part: path == part || startsWith "${part}/" path) wanted;
          above = path: builtins.any (startsWith "${path}/") wanted;
        in
        {
          outPath = builtins.path {
            name = "source";
            path = root;
            filter = path: kind: within path || (kind == "directory" && above path);
          };
        };
    };
  };

  packages = rec {
    getExe =
      package:
      "${package}/bin/${
        package.meta.mainProgram or (throw "lib.getExe: ${package.name} has no meta.mainProgram")
      }";
    getExe' = package: program: "${package}/bin/${program}";
    # Systems and licences that are named in the flake.
    platforms = {
      linux = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      darwin = [
        "x86_64-darwin"
        "aarch64-darwin"
      ];
    };
    licenses = attrsets.genAttrs [ "mit" "asl20" "gpl2Only" ] (shortName: {
      inherit shortName;
    });
    # lib/customisation.nix: whatever set comes out gets `override` and `overrideDerivation`, as if it were a package; a
    # function becomes a functor.
    makeOverridable =
      f: arguments:
      let
        result = f arguments;
        override =
          changes:
          makeOverridable f (
            arguments // (if builtins.isFunction changes then changes arguments else changes)
          );
      in
      if builtins.isFunction result then
        {
          inherit override;
          __functor = _: result;
          __functionArgs = builtins.functionArgs result;
        }
      else if builtins.isAttrs result then
        result
        // {
          override = {
            __functor = _: override;
            __functionArgs = builtins.functionArgs f;
          };
          overrideDerivation = _: result;
        }
      else
        result;
    callPackageWith =
      scope: package: overrides:
      let
        function = if builtins.isFunction package then package else import package;
        wanted = builtins.functionArgs function;
        missing = builtins.filter (name: !wanted.${name} && !(scope ? ${name}) && !(overrides ? ${name})) (
          builtins.attrNames wanted
        );
        where = if builtins.isFunction package then "a function" else toString package;
        surplus = builtins.attrNames (removeAttrs overrides (builtins.attrNames wanted));
      in
      if missing != [ ] then
        throw "callPackage ${where}: no package or argument called ${toString missing} is known"
      else if surplus != [ ] then
        throw "callPackage ${where}: it takes no argument ${toString surplus}"
      else
        makeOverridable function (builtins.intersectAttrs wanted scope // overrides);
    makeScope =
      newScope: f:
      let
        self = {
          callPackage = self.newScope { };
        }
        // f self
        // {
          newScope = extra: newScope (self // extra);
          overrideScope = _: throw "overrideScope: not verified";
          packages = f;
        };
      in
      self;
    fix =
      f:
      let
        x = f x;
      in
      x;
  };
  self =
    attrsets
    // lists
    // numbers
    // versions
    // strings
    // files
    // packages
    // import ./modules.nix { lib = self; };
in
self
