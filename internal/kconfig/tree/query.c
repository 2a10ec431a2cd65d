/*
 * Asks Kconfig what it makes of a configuration. Linked against the parser of a kernel tree (scripts/kconfig, as
 * conf and mconf are), 6.1 and later:
 *
 *	query IN OUT_CONFIG OUT_DEFCONFIG OUT_SYMBOLS Kconfig
 *
 * IN is read as make olddefconfig reads .config. OUT_CONFIG is what it would write, OUT_DEFCONFIG what make
 * savedefconfig would. OUT_SYMBOLS is one JSON object for each symbol, a line each, sorted by name.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkc.h"

/* struct menu names its file in two ways; install.sh looks which one the tree's expr.h has. */
#ifdef QUERY_MENU_FILENAME
#define menu_file(menu) ((menu)->filename)
#else
#define menu_file(menu) ((menu)->file->name)
#endif

struct entry {
	struct symbol *sym;
	size_t place;         /* in the menu tree, depth first */
	struct menu *first;   /* where the symbol is defined first */
	struct menu *offered; /* the first place with a visible prompt, else the first with a prompt, else NULL */
	struct menu *choice;  /* the choice it is a member of, else NULL */
};

static struct entry *entries;
static size_t entry_count, entry_room;

static void fail(const char *what, const char *file)
{
	fprintf(stderr, "query: %s: ", what);
	perror(file);
	exit(1);
}

/* next_menu walks the tree depth first. */
static struct menu *next_menu(struct menu *menu)
{
	if (menu->list)
		return menu->list;
	while (menu && !menu->next)
		menu = menu->parent;
	return menu ? menu->next : NULL;
}

static struct menu *choice_of(struct menu *menu)
{
	if (!sym_is_choice_value(menu->sym))
		return NULL;
	while (menu && !(menu->sym && sym_is_choice(menu->sym)))
		menu = menu->parent;
	return menu;
}

static void add_entry(struct menu *menu)
{
	if (entry_count == entry_room) {
		entry_room = entry_room ? 2 * entry_room : 4096;
		entries = realloc(entries, entry_room * sizeof(*entries));
		if (!entries)
			fail("memory", "symbols");
	}
	entries[entry_count] = (struct entry){ .sym = menu->sym, .place = entry_count, .first = menu };
	entry_count++;
}

static int by_name(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return strcmp(x->sym->name, y->sym->name);
}

static int by_name_and_place(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int names = by_name(a, b);

	return names ? names : x->place < y->place ? -1 : x->place > y->place;
}

/* A place of a symbol counts when its prompt is better than that of the place before. */
static int prompt_rank(const struct menu *menu)
{
	if (!menu || !menu->prompt || !menu->prompt->text)
		return 0;
	return expr_calc_value(menu->prompt->visible.expr) == no ? 1 : 2;
}

static struct entry *find_entry(struct symbol *sym)
{
	struct entry key = { .sym = sym };

	return bsearch(&key, entries, entry_count, sizeof(*entries), by_name);
}

static bool wanted(const struct symbol *sym)
{
	return sym && sym->name && sym->type != S_UNKNOWN && !(sym->flags & SYMBOL_CONST);
}

/*
 * collect fills entries. A symbol with a type has a place in the menu tree, so the tree has them all; some have
 * several.
 */
static void collect(void)
{
	struct menu *menu;
	struct entry *e;
	size_t i, kept = 0;

	for (menu = &rootmenu; menu; menu = next_menu(menu))
		if (wanted(menu->sym))
			add_entry(menu);
	qsort(entries, entry_count, sizeof(*entries), by_name_and_place);
	for (i = 0; i < entry_count; i++)
		if (!kept || entries[kept - 1].sym != entries[i].sym)
			entries[kept++] = entries[i];
	entry_count = kept;
	for (menu = &rootmenu; menu; menu = next_menu(menu)) {
		if (!wanted(menu->sym))
			continue;
		e = find_entry(menu->sym);
		if (prompt_rank(menu) > prompt_rank(e->offered))
			e->offered = menu;
		if (!e->choice)
			e->choice = choice_of(menu);
	}
}

static void put_string(FILE *out, const char *s)
{
	putc('"', out);
	for (; s && *s; s++) {
		unsigned char c = *s;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			putc(c, out);
	}
	putc('"', out);
}

static void put_key(FILE *out, const char *key)
{
	fprintf(out, ",\"%s\":", key);
}

/* print_term is expr_print's callback: a symbol of the tree with its value, a constant without. */
static void print_term(void *data, struct symbol *sym, const char *text)
{
	str_append(data, text);
	if (sym && sym->type != S_UNKNOWN && !(sym->flags & SYMBOL_CONST))
		str_printf(data, " [=%s]", sym_get_string_value(sym));
}

static char letter(tristate t)
{
	return t == yes ? 'y' : t == mod ? 'm' : 'n';
}

/* A list of strings being written: a comma goes before each but the first. */
struct list {
	FILE *out;
	bool begun;
	struct expr *known;  /* for put_unmet: dependencies that are told already; for join: the whole */
	struct gstr *joined; /* for join: the text so far */
};

static void put_item(struct list *list, const char *s)
{
	if (list->begun)
		putc(',', list->out);
	list->begun = true;
	put_string(list->out, s);
}

static void put_expr(struct list *list, struct expr *e)
{
	struct gstr text = str_new();

	expr_print(e, print_term, &text, E_NONE);
	put_item(list, str_get(&text));
	str_free(&text);
}

/* choice_prompt is where a choice says what it depends on, if e is nothing but a choice; else NULL. */
static struct property *choice_prompt(struct expr *e)
{
	struct property *prompt;

	if (e->type != E_SYMBOL || !sym_is_choice(e->left.sym))
		return NULL;
	for_all_prompts(e->left.sym, prompt)
		return prompt;
	return NULL;
}

/*
 * each_conjunct takes the ands of an expression apart. Up to 6.10 the members of a choice depend on the choice, whose
 * own dependencies then stand in its place; later on they depend on these themselves.
 */
static void each_conjunct(struct expr *e, void (*fn)(struct list *, struct expr *), struct list *list)
{
	struct property *prompt;

	if (!e)
		return;
	prompt = choice_prompt(e);
	if (e->type == E_AND) {
		each_conjunct(e->left.expr, fn, list);
		each_conjunct(e->right.expr, fn, list);
	} else if (prompt) {
		each_conjunct(prompt->visible.expr, fn, list);
	} else {
		fn(list, e);
	}
}

/* join puts the conjuncts together again. */
static void join(struct list *list, struct expr *e)
{
	if (list->begun)
		str_append(list->joined, " && ");
	list->begun = true;
	expr_print(e, print_term, list->joined, e == list->known ? E_NONE : E_AND);
}

static bool among_conjuncts(struct expr *all, struct expr *e)
{
	struct property *prompt;

	if (!all)
		return false;
	if (all->type == E_AND)
		return among_conjuncts(all->left.expr, e) || among_conjuncts(all->right.expr, e);
	prompt = choice_prompt(all);
	if (prompt)
		return among_conjuncts(prompt->visible.expr, e);
	return expr_eq(all, e);
}

/* put_unmet writes a conjunct below y, the value of the whole at its end: "A [=n]", "(A [=n] || !B [=y]) [=n]". */
static void put_unmet(struct list *list, struct expr *e)
{
	bool symbol = e->type == E_SYMBOL && !(e->left.sym->flags & SYMBOL_CONST);
	struct gstr text;

	if (expr_calc_value(e) == yes || among_conjuncts(list->known, e))
		return;
	text = str_new();
	if (symbol) {
		str_printf(&text, "%s [=%c]", e->left.sym->name, letter(expr_calc_value(e)));
	} else {
		str_append(&text, "(");
		expr_print(e, print_term, &text, E_NONE);
		str_printf(&text, ") [=%c]", letter(expr_calc_value(e)));
	}
	put_item(list, str_get(&text));
	str_free(&text);
}

static void each_disjunct(struct expr *e, void (*fn)(struct list *, struct expr *), struct list *list)
{
	if (!e)
		return;
	if (e->type == E_OR) {
		each_disjunct(e->left.expr, fn, list);
		each_disjunct(e->right.expr, fn, list);
	} else {
		fn(list, e);
	}
}

/* put_active writes a term of a reverse dependency that is not n. */
static void put_active(struct list *list, struct expr *e)
{
	if (expr_calc_value(e) != no)
		put_expr(list, e);
}

/* put_selector writes which symbol a term of a reverse dependency belongs to: each begins with it. */
static void put_selector(struct list *list, struct expr *e)
{
	while (e->type == E_AND)
		e = e->left.expr;
	if (e->type == E_SYMBOL && e->left.sym->name)
		put_item(list, e->left.sym->name);
}

static const char *type_name(enum symbol_type type)
{
	switch (type) {
	case S_BOOLEAN:
		return "bool";
	case S_TRISTATE:
		return "tristate";
	case S_INT:
		return "int";
	case S_HEX:
		return "hex";
	default:
		return "string";
	}
}

/* put_value writes the value as .config has it: strings in quotes, their quotes and backslashes escaped. */
static void put_value(FILE *out, struct symbol *sym)
{
	struct gstr text = str_new();
	const char *s = sym_get_string_value(sym);

	if (sym->type == S_STRING) {
		str_append(&text, "\"");
		for (; *s; s++)
			str_printf(&text, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
		str_append(&text, "\"");
	} else {
		str_append(&text, s);
	}
	put_string(out, str_get(&text));
	str_free(&text);
}

static void put_range(FILE *out, struct symbol *sym)
{
	struct property *range = sym_get_range_prop(sym);
	struct gstr text;

	if (!range)
		return;
	text = str_new();
	sym_calc_value(range->expr->left.sym);
	sym_calc_value(range->expr->right.sym);
	str_printf(&text, "%s %s", sym_get_string_value(range->expr->left.sym),
		   sym_get_string_value(range->expr->right.sym));
	put_key(out, "range");
	put_string(out, str_get(&text));
	str_free(&text);
}

static void put_choice(FILE *out, const struct entry *e)
{
	const char *name;
	size_t i;

	if (!e->choice)
		return;
	name = e->choice->sym->name ? e->choice->sym->name : menu_get_prompt(e->choice);
	put_key(out, "choice");
	put_string(out, name ? name : "choice");
	for (i = 0; i < entry_count; i++)
		if (entries[i].choice == e->choice && sym_get_tristate_value(entries[i].sym) == yes) {
			put_key(out, "choice_chosen");
			put_string(out, entries[i].sym->name);
			return;
		}
}

/* In 6.11 and later a member of a choice has its dependencies at its place in the menu only. */
static struct expr *dependencies(const struct entry *e)
{
	return e->choice && e->offered ? e->offered->dep : e->sym->dir_dep.expr;
}

static void put_depends(FILE *out, struct expr *e)
{
	struct gstr text = str_new();
	struct list list = { .known = e, .joined = &text };

	each_conjunct(e, join, &list);
	put_key(out, "depends");
	put_string(out, str_get(&text));
	str_free(&text);
}

/* put_list writes "key":[...] of what walk finds in an expression. */
static void put_list(FILE *out, const char *key, struct expr *e, struct expr *known,
		     void (*walk)(struct expr *, void (*)(struct list *, struct expr *), struct list *),
		     void (*fn)(struct list *, struct expr *))
{
	struct list list = { .out = out, .known = known };

	put_key(out, key);
	putc('[', out);
	walk(e, fn, &list);
	putc(']', out);
}

static void put_entry(FILE *out, const struct entry *e)
{
	struct symbol *sym = e->sym;
	struct menu *at = e->offered ? e->offered : e->first;
	struct expr *depends = dependencies(e);
	struct expr *condition = e->offered ? e->offered->prompt->visible.expr : NULL;

	fprintf(out, "{\"name\":");
	put_string(out, sym->name);
	put_key(out, "type");
	put_string(out, type_name(sym->type));
	put_key(out, "value");
	put_value(out, sym);
	put_key(out, "written");
	fprintf(out, sym->flags & SYMBOL_WRITE ? "true" : "false");
	put_key(out, "prompt");
	put_string(out, e->offered ? e->offered->prompt->text : "");
	put_key(out, "visible");
	fprintf(out, "\"%c\"", letter(sym->visible));
	put_key(out, "file");
	put_string(out, menu_file(at));
	fprintf(out, ",\"line\":%d", at->lineno);
	put_depends(out, depends);
	put_list(out, "unmet", depends, NULL, each_conjunct, put_unmet);
	put_list(out, "prompt_unmet", condition, depends, each_conjunct, put_unmet);
	put_list(out, "selected_by", sym->rev_dep.expr, NULL, each_disjunct, put_active);
	put_list(out, "selectors", sym->rev_dep.expr, NULL, each_disjunct, put_selector);
	put_list(out, "implied_by", sym->implied.expr, NULL, each_disjunct, put_active);
	put_choice(out, e);
	put_range(out, sym);
	fprintf(out, "}\n");
}

static void write_symbols(const char *file)
{
	FILE *out = fopen(file, "w");
	size_t i;

	if (!out)
		fail("writing symbols", file);
	collect();
	for (i = 0; i < entry_count; i++)
		put_entry(out, &entries[i]);
	if (ferror(out) || fclose(out))
		fail("writing symbols", file);
}

/*
 * The writers calculate every symbol anew, and warn of unmet dependencies as reading did. Once is enough. Their own
 * faults come back as a code.
 */
static void silence(void)
{
	int null = open("/dev/null", O_WRONLY);

	if (null >= 0) {
		dup2(null, STDERR_FILENO);
		close(null);
	}
}

int main(int argc, char **argv)
{
	int stderr_copy;

	if (argc != 6) {
		fprintf(stderr, "usage: query IN OUT_CONFIG OUT_DEFCONFIG OUT_SYMBOLS Kconfig\n");
		return 2;
	}
	conf_set_message_callback(NULL);
	conf_parse(argv[5]);
	if (conf_read(argv[1]))
		fail("reading the configuration", argv[1]);
	write_symbols(argv[4]);

	fflush(stderr);
	stderr_copy = dup(STDERR_FILENO);
	silence();
	/* An older file would be kept as OUT_CONFIG.old. */
	unlink(argv[2]);
	if (conf_write(argv[2])) {
		dup2(stderr_copy, STDERR_FILENO);
		fail("writing the configuration", argv[2]);
	}
	if (conf_write_defconfig(argv[3])) {
		dup2(stderr_copy, STDERR_FILENO);
		fail("writing the defconfig", argv[3]);
	}
	return 0;
}
