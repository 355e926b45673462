# A small module system: options with types, imports, mkIf, mkMerge, mkForce. It finds what the flake can get wrong: an
# option that does not exist, a value of the wrong type, two values for one option. Messages name the option.
{ lib }:
let
  inherit (builtins)
    attrNames
    concatMap
    concatStringsSep
    filter
    head
    isAttrs
    isFunction
    length
    map
    ;

  showOption = concatStringsSep ".";
  show =
    value:
    if isAttrs value && value ? outPath then
      "a package"
    else if isFunction value then
      "a function"
    else
      builtins.toJSON value;

  # mkIf, mkMerge and mkForce resolved: the values that remain, the most important ones only.
  properties =
    value:
    if isAttrs value && value ? _type then
      if value._type == "if" then
        if value.condition then properties value.content else [ ]
      else if value._type == "merge" then
        concatMap properties value.contents
      else if value._type == "override" then
        map (found: found // { inherit (value) priority; }) (properties value.content)
      else
        [ (plain value) ]
    else
      [ (plain value) ];
  # The same for a set, handed on to its attributes: the conditions stay unevaluated, as they may depend on the options.
  pushDown =
    value:
    if !(isAttrs value && value ? _type) then
      [ value ]
    else if value._type == "merge" then
      concatMap pushDown value.contents
    else
      map (lib.mapAttrs (_: content: value // { inherit content; })) (pushDown value.content);
  plain = value: {
    priority = 100;
    inherit value;
  };
  mostImportant =
    found:
    let
      best = builtins.foldl' (a: b: if b.priority < a then b.priority else a) 10000 found;
    in
    map (one: one.value) (filter (one: one.priority == best) found);

  isOption = value: isAttrs value && (value._type or null) == "option";

  knownOptionArguments = [
    "_type"
    "apply"
    "default"
    "defaultText"
    "description"
    "example"
    "internal"
    "readOnly"
    "type"
    "visible"
  ];

  # One set out of several, at every level; options are leaves.
  mergeOptions =
    path: sets:
    lib.genAttrs (lib.unique (concatMap attrNames sets)) (
      name:
      let
        here = path ++ [ name ];
        found = map (set: set.${name}) (filter (set: set ? ${name}) sets);
      in
      if isOption (head found) then
        if length found == 1 then
          head found
        else
          throw "option ${showOption here} is declared more than once"
      else
        mergeOptions here found
    );

  # As in lib/modules.nix: a module without a key is known by its place in the one that imports it.
  collect =
    arguments: fallback: module:
    let
      isFile = builtins.isPath module || builtins.isString module;
      value = if isFile then import module else module;
      body = if isFunction value then value arguments else value;
      key = body.key or (if isFile then toString module else fallback);
      structured = body ? options || body ? config || body ? imports || body ? freeformType;
      surplus = attrNames (
        removeAttrs body [
          "_file"
          "config"
          "freeformType"
          "imports"
          "key"
          "options"
        ]
      );
      own = {
        options = if structured then body.options or { } else { };
        config =
          if !structured then
            removeAttrs body [
              "_file"
              "key"
            ]
          else if surplus == [ ] || body ? config || body ? options then
            if surplus != [ ] then
              throw "a module with options or config has other attributes, too: ${toString surplus}"
            else
              body.config or { }
          else
            removeAttrs body [
              "_file"
              "imports"
              "key"
            ];
        freeformType = body.freeformType or null;
      };
    in
    [ { inherit own key; } ] ++ collectAll arguments key (body.imports or [ ]);
  collectAll =
    arguments: parent: modules:
    builtins.concatLists (lib.imap1 (n: collect arguments "${parent}:anon-${toString n}") modules);

  # A module that is imported more than once counts once.
  once = builtins.foldl' (
    seen: part: if builtins.any (other: other.key == part.key) seen then seen else seen ++ [ part ]
  ) [ ];

  evalModules =
    {
      modules,
      specialArgs ? { },
      path ? [ ],
    }:
    let
      parts = map (part: part.own) (
        once (collectAll (specialArgs // { inherit config lib; }) "" modules)
      );
      options = mergeOptions path (map (part: part.options) parts);
      freeform = lib.last ([ null ] ++ filter (type: type != null) (map (part: part.freeformType) parts));
      configs = map (part: part.config) parts;

      # Values given at and below `here`.
      merge =
        here: tree: definitions:
        let
          sets = concatMap pushDown definitions;
          below = name: map (set: set.${name}) (filter (set: builtins.isAttrs set && set ? ${name}) sets);
          given = lib.unique (concatMap attrNames sets);
          unknown = filter (name: !(tree ? ${name})) given;
          declared = lib.genAttrs (attrNames tree) (
            name:
            let
              place = here ++ [ name ];
            in
            if isOption tree.${name} then
              leaf place tree.${name} (below name)
            else
              merge place tree.${name} (below name)
          );
        in
        if unknown == [ ] then
          declared
        else if freeform != null && here == path then
          freeform.merge here (map (set: builtins.intersectAttrs (lib.genAttrs unknown (_: null)) set) sets)
          // declared
        else
          throw "the option ${
            showOption (here ++ [ (head unknown) ])
          } does not exist (or is not known to nix/check)";

      leaf =
        place: option: definitions:
        let
          bad = attrNames (removeAttrs option knownOptionArguments);
          values = mostImportant (concatMap properties definitions);
          result =
            if bad != [ ] then
              throw "option ${showOption place}: mkOption takes no ${toString bad}"
            else if values != [ ] then
              option.type.merge place values
            else if option ? default then
              option.type.merge place [ option.default ]
            else
              throw "the option ${showOption place} is used but has no value";
        in
        if option ? apply then option.apply result else result;

      config = merge path options configs;
    in
    {
      inherit config options;
    };

  single =
    place: values:
    let
      distinct = lib.unique values;
    in
    if length distinct == 1 then
      head distinct
    else
      throw "the option ${showOption place} has two values: ${concatStringsSep " and " (map show distinct)}";
  basic = name: check: {
    inherit name check;
    merge =
      place: values:
      let
        value = single place values;
      in
      if check value then
        value
      else
        throw "the option ${showOption place} cannot be ${show value}: it has to be ${name}";
  };
  isPackage = value: isAttrs value && value ? outPath;
  isText = value: builtins.isString value || isPackage value;
  isNumber = value: builtins.isInt value || builtins.isFloat value;
  within =
    low: high: value:
    builtins.isInt value && low <= value && value <= high;

  types = rec {
    anything = basic "anything" (_: true);
    raw = anything;
    bool = basic "a Boolean" builtins.isBool;
    int = basic "an integer" builtins.isInt;
    number = basic "a number" isNumber;
    str = basic "a string" isText;
    path = basic "an absolute path" (
      value: builtins.isPath value || (isText value && builtins.substring 0 1 (toString value) == "/")
    );
    package = basic "a package" isPackage;
    port = basic "a port, 0 to 65535" (within 0 65535);
    ints = {
      unsigned = basic "an integer from 0" (value: builtins.isInt value && value >= 0);
      positive = basic "an integer from 1" (value: builtins.isInt value && value > 0);
      between = low: high: basic "an integer from ${toString low} to ${toString high}" (within low high);
    };
    strMatching =
      pattern:
      basic "a string that matches ${pattern}" (
        value: isText value && builtins.match pattern (toString value) != null
      );
    enum = allowed: basic "one of ${builtins.toJSON allowed}" (value: builtins.elem value allowed);
    lines = {
      inherit (str) check;
      name = "lines";
      merge = _: concatStringsSep "\n";
    };
    nullOr = inner: {
      name = "null or ${inner.name}";
      check = value: value == null || inner.check value;
      merge =
        place: values:
        if builtins.all (value: value == null) values then null else inner.merge place values;
    };
    either = left: right: {
      name = "${left.name} or ${right.name}";
      check = value: left.check value || right.check value;
      merge =
        place: values:
        if builtins.all left.check values then left.merge place values else right.merge place values;
    };
    oneOf =
      list: if length list == 1 then head list else either (head list) (oneOf (builtins.tail list));
    listOf = inner: {
      name = "a list of ${inner.name}";
      check = builtins.isList;
      merge =
        place: values:
        let
          item =
            value:
            if builtins.isList value then
              map (one: inner.merge place [ one ]) value
            else
              throw "the option ${showOption place} cannot be ${show value}: it has to be a list of ${inner.name}";
        in
        concatMap item values;
    };
    attrsOf = inner: {
      name = "attributes of ${inner.name}";
      check = isAttrs;
      merge =
        place: values:
        let
          sets = map (
            value:
            if isAttrs value then
              value
            else
              throw "the option ${showOption place} cannot be ${show value}: it has to be attributes of ${inner.name}"
          ) values;
        in
        lib.genAttrs (lib.unique (concatMap attrNames sets)) (
          name:
          inner.merge (place ++ [ name ]) (
            mostImportant (concatMap (set: properties set.${name}) (filter (set: set ? ${name}) sets))
          )
        );
    };
    lazyAttrsOf = attrsOf;
    submodule = module: {
      name = "a submodule";
      # Of a module that is a plain set: for the report.
      options = module.options or { };
      check = isAttrs;
      merge =
        place: values:
        (evalModules {
          modules = [ module ] ++ map (value: { config = value; }) values;
          path = place;
          specialArgs.name = lib.last place;
        }).config;
    };
  };

  override = priority: content: {
    _type = "override";
    inherit content priority;
  };
in
{
  inherit evalModules types;
  mkOption = arguments: { _type = "option"; } // arguments;
  mkEnableOption = description: {
    _type = "option";
    type = types.bool;
    default = false;
    inherit description;
  };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkDefault = override 1000;
  mkForce = override 50;
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  literalMD = text: {
    _type = "literalMD";
    inherit text;
  };
  # lib/modules.nix: import, with the file's name for messages and without a key.
  modules.importApply = file: import file;
}
