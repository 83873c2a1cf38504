# SPDX-License-Identifier: GPL-2.0
#
# Turns the layout tests of bindgen's output into C assertions.
#
# First input: the preprocessed bindings_helper.h, which tells a tag from a
# typedef (bindgen's output does not). Second input: the generated Rust file.

BEGIN {
	print "// SPDX-License-Identifier: GPL-2.0"
	print "#include \"bindings_helper.h\""
	# bindgen appends an underscore to names that are keywords in Rust.
	n = split("abstract as async await become box crate dyn final fn impl in let " \
		  "loop macro match mod move mut override priv pub ref self super " \
		  "trait try type typeof unsafe unsized use virtual where yield", kw, " ")
	for (i = 1; i <= n; i++)
		keyword[kw[i]] = 1
}

# A tag counts only where it is defined, since forward declarations have no size.
FNR == NR {
	line = $0
	while (match(line, /(struct|union)[ \t]+[A-Za-z_][A-Za-z0-9_]*[^;(){]*\{/)) {
		split(substr(line, RSTART, RLENGTH), word, /[ \t{]+/)
		tag[word[2]] = word[1] " " word[2]
		line = substr(line, RSTART + RLENGTH)
	}
	# A definition whose brace stands on the next line.
	if (pending != "" && $0 ~ /^[ \t]*\{/)
		tag[pending_name] = pending
	pending = ""
	if (match($0, /(struct|union)[ \t]+[A-Za-z_][A-Za-z0-9_]*[ \t]*$/)) {
		split(substr($0, RSTART), word, /[ \t]+/)
		pending = word[1] " " word[2]
		pending_name = word[2]
	}
	if (match($0, /\}[^;{}]*[A-Za-z_][A-Za-z0-9_]*[ \t]*;/)) {
		line = substr($0, RSTART, RLENGTH)
		sub(/[ \t]*;$/, "", line)
		sub(/^.*[^A-Za-z0-9_]/, "", line)
		alias[line] = 1
	}
	next
}

function c_type(name)
{
	if (name ~ /__bindgen/)
		return ""
	if (name in tag)
		return tag[name]
	if (name in alias)
		return name
	return ""
}

# Long tests are wrapped: collect the lines up to the end of the statement.
/\["(Size of |Offset of field: )/ {
	statement = ""
	collecting = 1
}

collecting {
	statement = statement $0
	if ($0 !~ /\];[ \t]*$/)
		next
	collecting = 0
	name = statement
	sub(/^.*\["(Size of |Offset of field: )/, "", name)
	sub(/"\].*$/, "", name)
	value = statement
	sub(/^.*- /, "", value)
	sub(/usize\].*$/, "", value)
	if (value !~ /^[0-9]+$/)
		next
	if (statement ~ /\["Size of /)
		check_size(name, value)
	else
		check_offset(name, value)
}

function check_size(name, value,	type)
{
	type = c_type(name)
	if (type != "")
		printf "static_assert(sizeof(%s) == %s);\n", type, value
}

function check_offset(name, value,	part, type, member, plain)
{
	split(name, part, "::")
	type = c_type(part[1])
	member = part[2]
	if (type == "" || member ~ /^(__bindgen|_bitfield|_unused|_address)/)
		return
	plain = member
	if (sub(/_$/, "", plain) && plain in keyword)
		member = plain
	printf "static_assert(offsetof(%s, %s) == %s);\n", type, member, value
}
