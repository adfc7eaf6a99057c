// What tells the commands of one program apart.

/** The words that all commands of a program begin with say nothing about one of them: `… unit3.c -o unit3.o`. */
export function tellingCommands(names, commands) {
  const words = commands.map((command) => command.split(" "));
  const shared = new Map();
  names.forEach((name, i) => {
    const known = shared.get(name);
    if (!known) {
      shared.set(name, { words: words[i], length: words[i].length });
      return;
    }
    let same = 0;
    while (same < known.length && known.words[same] === words[i][same]) same += 1;
    known.length = same;
  });
  return commands.map((command, i) => {
    const { length } = shared.get(names[i]);
    // All are the same, or only the program's own name is.
    return length < 2 || length >= words[i].length ? command : `… ${words[i].slice(length).join(" ")}`;
  });
}
